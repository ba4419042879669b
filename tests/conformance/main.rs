//! Every scenario against each real CLI, by the real program, with one expected list of events.
//!
//! A CLI that is not installed skips its tests, except in continuous integration. `UPDATE_DOCS=1`
//! writes the table of gaps into `docs/agents.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

mod agents;
#[path = "../support/appears.rs"]
mod appears;
mod bench;
mod expected;
mod gaps;
mod kills;
mod listing;
mod live;
#[path = "../support/running.rs"]
mod running;
mod scenarios;
mod session;

macro_rules! conformance {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::{kills, scenarios};

            #[test]
            fn the_tour_of_all_tools() {
                scenarios::turn(&$agent, "tour", "Take the tour.");
            }

            #[test]
            fn large_outputs() {
                scenarios::large(&$agent);
            }

            #[test]
            fn a_wrong_key() {
                scenarios::turn(&$agent, "401", "Show a wrong key.");
            }

            #[test]
            fn a_broken_server() {
                scenarios::turn(&$agent, "500", "Find the server broken.");
            }

            #[test]
            fn a_stream_that_is_cut_once() {
                scenarios::turn(&$agent, "cut once", "Lose the connection once.");
            }

            #[test]
            fn a_stream_that_is_always_cut() {
                scenarios::turn(&$agent, "cut", "Lose the connection always.");
            }

            #[test]
            fn a_context_that_is_full() {
                scenarios::turn(&$agent, "context overflow", "Say too much.");
            }

            #[test]
            fn a_limit_of_rounds() {
                scenarios::max_turns(&$agent);
            }

            #[test]
            fn a_cli_that_is_ended_from_outside() {
                scenarios::sigterm(&$agent);
            }

            #[test]
            fn a_cli_that_is_killed_in_its_answer_goes_on() {
                kills::in_a_text(&$agent);
            }

            #[test]
            fn a_cli_that_is_killed_in_a_command_goes_on() {
                kills::in_a_tool(&$agent);
            }

            #[tokio::test]
            async fn a_conversation_that_goes_on_and_one_that_is_lost() {
                scenarios::resume(&$agent).await;
            }
        }
    )*};
}

conformance! {
    claude: CLAUDE,
    codex: CODEX,
    opencode: OPENCODE,
    gemini: GEMINI,
    pi: PI,
}
