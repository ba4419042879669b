//! Every scenario against each real CLI, by the real program, with one expected list of events.
//!
//! A CLI that is not installed skips its tests, except in continuous integration. `UPDATE_DOCS=1`
//! writes the table of gaps into `docs/agents.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

mod agents;
#[path = "../support/appears.rs"]
mod appears;
mod approval;
mod background;
mod bench;
mod deaths;
mod expected;
mod gaps;
mod gate;
#[path = "../hub_link/hub.rs"]
#[allow(unreachable_pub)] // shared with the tests of the link
mod hand_hub;
mod images;
#[path = "../support/in_time.rs"]
mod in_time;
mod kills;
mod led;
mod listing;
mod live;
mod offer;
#[path = "../support/running.rs"]
mod running;
mod scenarios;
mod session;
mod setting_deaths;
mod settings;
mod told;
#[path = "../support/viewer.rs"]
mod viewer;

macro_rules! conformance {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::scenarios;

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
            fn a_skill_that_was_put_there_is_known() {
                scenarios::skill(&$agent);
            }

            #[test]
            fn a_cli_that_is_ended_from_outside() {
                scenarios::sigterm(&$agent);
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
    claude_live: CLAUDE_LIVE,
    codex_live: CODEX_LIVE,
    opencode_live: OPENCODE_LIVE,
    gemini_live: GEMINI_LIVE,
}

macro_rules! killed {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::kills;

            #[test]
            fn a_cli_that_is_killed_in_its_answer_goes_on() {
                kills::in_a_text(&$agent);
            }

            #[test]
            fn a_cli_that_is_killed_in_a_command_goes_on() {
                kills::in_a_tool(&$agent);
            }
        }
    )*};
}

killed! {
    claude_dies: CLAUDE,
    codex_dies: CODEX,
    opencode_dies: OPENCODE,
    gemini_dies: GEMINI,
    pi_dies: PI,
}

// In live form a CLI that is ended in a command is seen above; Claude and Codex are killed in `live`.

#[test]
fn opencode_that_is_killed_in_its_answer_goes_on_in_live_form() {
    kills::in_a_text(&agents::OPENCODE_LIVE);
}

#[test]
fn gemini_that_is_killed_in_its_answer_goes_on_in_live_form() {
    kills::in_a_text(&agents::GEMINI_LIVE);
}

macro_rules! asked {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::approval;

            #[test]
            fn a_person_permits_denies_and_changes() {
                approval::by_a_person(&$agent);
            }

            #[test]
            fn rules_permit_and_deny() {
                approval::by_rules(&$agent);
            }
        }
    )*};
}

// Those whose live form asks.
asked! {
    claude_asks: CLAUDE,
    codex_asks: CODEX,
    opencode_asks: OPENCODE,
    gemini_asks: GEMINI,
}

macro_rules! questions {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::approval;

            #[test]
            fn a_question_is_answered() {
                approval::a_question(&$agent);
            }

            #[test]
            fn a_question_is_denied_and_the_agent_goes_on() {
                approval::a_question_denied(&$agent);
            }

            #[test]
            fn a_question_that_nobody_answers_is_denied_in_time() {
                approval::a_question_unanswered(&$agent);
            }

            #[test]
            fn a_question_can_end_its_turn() {
                approval::a_question_that_ends(&$agent);
            }
        }
    )*};
}

// Those that ask their user.
questions! {
    claude_wonders: CLAUDE,
    codex_wonders: CODEX,
}

#[test]
fn requests_are_shown_as_they_come_and_one_can_end_its_turn() {
    approval::followed(&agents::CLAUDE);
}

#[test]
fn a_run_and_whoever_follows_are_asked_at_their_terminal() {
    approval::at_a_terminal(&agents::CLAUDE);
}

#[test]
fn the_docs_say_which_calls_wait_for_consent() {
    approval::the_docs();
}

macro_rules! gated {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use crate::agents::$agent;
            use crate::{gate, led};

            #[test]
            fn a_call_waits_for_the_hub() {
                led::run(gate::waits(&$agent));
            }

            #[test]
            fn a_call_that_waits_outlives_a_daemon_and_a_hub() {
                led::run(gate::outlives(&$agent));
            }
        }
    )*};
}

// Those whose live form lets us hold a call.
gated! {
    claude_is_gated: CLAUDE_LIVE,
    codex_is_gated: CODEX_LIVE,
    opencode_is_gated: OPENCODE_LIVE,
    gemini_is_gated: GEMINI_LIVE,
}

#[test]
fn the_first_answer_counts_and_a_late_one_harms_nothing() {
    led::run(gate::first_counts(&agents::CLAUDE_LIVE));
}

macro_rules! offers {
    ($($name:ident: $agent:ident $mode:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            led::run(offer::offered(&agents::$agent, $mode));
        }
    )*};
}

offers! {
    claude_calls_a_tool_of_the_hub: CLAUDE "exec",
    claude_live_calls_a_tool_of_the_hub: CLAUDE "live",
    codex_calls_a_tool_of_the_hub: CODEX "exec",
    codex_live_calls_a_tool_of_the_hub: CODEX "live",
    opencode_calls_a_tool_of_the_hub: OPENCODE "exec",
    opencode_live_calls_a_tool_of_the_hub: OPENCODE "live",
    gemini_calls_a_tool_of_the_hub: GEMINI "exec",
    gemini_live_calls_a_tool_of_the_hub: GEMINI "live",
}

macro_rules! restricted {
    ($($name:ident: $agent:ident $mode:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            led::run(offer::restricted(&agents::$agent, $mode));
        }
    )*};
}

// Those that take sub-agents from us.
restricted! {
    a_sub_agent_of_claude_does_what_it_may: CLAUDE "exec",
    a_sub_agent_of_claude_live_does_what_it_may: CLAUDE "live",
    a_sub_agent_of_opencode_does_what_it_may: OPENCODE "exec",
    a_sub_agent_of_opencode_live_does_what_it_may: OPENCODE "live",
}

#[test]
fn people_consent_to_what_a_tool_of_the_hub_gives() {
    led::run(offer::confirmed(&agents::CLAUDE));
}

#[test]
fn the_hubs_tools_outlive_a_daemon() {
    led::run(offer::kept(&agents::CLAUDE));
}
