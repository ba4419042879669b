//! Death at every crash point.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hub::Manners;
use crate::points::{self, passes};
use crate::rounds::{AGENTS, Ground, asked, each};
use crate::scenario::Scenario;

/// The tests that die where these sessions do not come: in containers, in the Hub's answers and tools
/// (this Hub only acknowledges, and the fake agent calls none), in what comes before and after turns.
/// They name their points.
const ELSEWHERE: [&str; 8] = [
    include_str!("../images/beside.rs"),
    include_str!("../end_to_end/answers.rs"),
    include_str!("../end_to_end/hub_tools.rs"),
    include_str!("../end_to_end/cut_off.rs"),
    include_str!("../many_sessions/ended.rs"),
    include_str!("../checkpoints.rs"),
    include_str!("../install.rs"),
    include_str!("../bounds/retention.rs"),
];

/// Passes of a point that are tried at most.
const HITS: u32 = 5;

/// Where and when to die.
#[derive(Debug)]
struct Death {
    point: String,
    hit: u32,
    scenario: Scenario,
    agent: &'static str,
}

#[test]
fn a_session_survives_the_death_of_its_processes_at_every_crash_point() {
    let ground = Ground::new();
    let reached = trace(&ground);
    let only = std::env::var("FAULTS_POINTS").unwrap_or_default();
    let never: Vec<String> = points::all()
        .into_iter()
        .filter(|point| point.contains(&only))
        .filter(|point| {
            let named = format!("\"{point}:");
            !ELSEWHERE.iter().any(|test| test.contains(&named))
        })
        .filter(|point| !reached.contains_key(point))
        .collect();
    assert!(never.is_empty(), "no scenario reaches {never:?}");
    let hits = asked("FAULTS_HITS").map_or(1, |hits| u32::try_from(hits).unwrap());
    let deaths: Vec<Death> = reached
        .into_iter()
        .filter(|(point, _)| point.contains(&only))
        .enumerate()
        .flat_map(|(index, (point, (scenario, count)))| {
            (1..=count.min(hits).min(HITS)).map(move |hit| Death {
                point: point.clone(),
                hit,
                scenario,
                agent: {
                    let agents = scenario.agents();
                    agents[(index + hit as usize) % agents.len()]
                },
            })
        })
        .collect();
    let died = AtomicUsize::new(0);
    let faults = each(&deaths, |_, death| {
        let order = format!("{}:{}", death.point, death.hit);
        let nicely = Manners::default();
        let played = ground.round(death.agent, death.scenario, nicely, |place| {
            death.scenario.play(place, Some(&order))?;
            let dead = place.crashed();
            died.fetch_add(usize::from(dead), Ordering::SeqCst);
            // How often a point is passed depends on who is quicker; that it is passed does not.
            if dead || death.hit > 1 {
                return Ok(());
            }
            Err("it was never reached".to_owned())
        });
        played
            .map(drop)
            .map_err(|fault| format!("{order}: {fault}"))
    });
    println!("{} deaths at crash points", died.into_inner());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Which scenario passes a point how often: the one that does most. `Orders` is the last choice:
/// what it passes besides its own points depends on how soon an order comes.
fn trace(ground: &Ground) -> BTreeMap<String, (Scenario, u32)> {
    let traces: Mutex<Vec<(Scenario, BTreeMap<String, u32>)>> = Mutex::default();
    let faults = each(&Scenario::ALL, |_, scenario| {
        let log = |agent: &'static str| {
            let nicely = Manners::default();
            ground.round(agent, *scenario, nicely, |place| {
                scenario.play(place, None)?;
                Ok(passes(&place.text("passed")))
            })
        };
        // Both must reach it.
        let mut claude = log(AGENTS[0])?.0;
        for other in scenario.agents().iter().skip(1) {
            let other = log(other)?.0;
            claude.retain(|point, count| {
                *count = other.get(point).map_or(0, |other| *other.min(count));
                *count > 0
            });
        }
        traces.lock().unwrap().push((*scenario, claude));
        Ok(())
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let mut reached = BTreeMap::new();
    for (scenario, passes) in traces.into_inner().unwrap() {
        // A shim of before the death is not armed.
        let is_armed = |(point, _): &(String, u32)| {
            !(scenario.takes_over() && (point.starts_with("shim.") || point.starts_with("child.")))
        };
        for (point, count) in passes.into_iter().filter(is_armed) {
            let rank = |(scenario, count): (Scenario, u32)| (scenario != Scenario::Orders, count);
            let best = reached.entry(point).or_insert((scenario, count));
            if rank((scenario, count)) > rank(*best) {
                *best = (scenario, count);
            }
        }
    }
    reached
}
