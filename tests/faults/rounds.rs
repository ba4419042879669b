//! Many rounds at a time: each waits most of its life.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_runner::tasks::Tasks;

use crate::hub::Manners;
use crate::judge::{Figures, judge};
use crate::place::{Fault, Place};
use crate::scenario::Scenario;

/// Rounds at the same time. More only wait for the processors.
const AT_ONCE: usize = 6;

/// The agents whose manner the fake agent has.
pub(crate) const AGENTS: [&str; 2] = ["claude", "codex"];

/// Where rounds are played.
pub(crate) struct Ground {
    runtime: tokio::runtime::Runtime,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        Self {
            runtime: runtime.unwrap(),
        }
    }

    /// One round; its place is kept where there is a fault.
    pub(crate) fn round<T>(
        &self,
        agent: &'static str,
        scenario: Scenario,
        manners: Manners,
        play: impl FnOnce(&mut Place) -> Result<T, Fault>,
    ) -> Result<(T, Figures), Fault> {
        let (runtime, tasks) = (self.runtime.handle(), Tasks::new());
        let mut place = Place::new(runtime, &tasks, agent, &scenario.orders(), manners);
        place.mode = scenario.mode();
        let result = play(&mut place).and_then(|played| {
            let figures = judge(runtime, &place, scenario)?;
            Ok((played, figures))
        });
        let result = result.map_err(|fault| {
            let kept = place.keep();
            format!(
                "{fault}\n  {agent}, {scenario:?}; kept in {}",
                kept.display()
            )
        });
        runtime.block_on(tasks.stop());
        result
    }
}

/// Does `work` for each item, several at once; the faults, by the item's number.
pub(crate) fn each<T: Sync>(
    items: &[T],
    work: impl Fn(usize, &T) -> Result<(), Fault> + Sync,
) -> Vec<Fault> {
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = items.get(index) else { break };
                    if let Err(fault) = work(index, item) {
                        println!("FAULT {fault}");
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    faults.into_inner().unwrap()
}

/// A number from the environment.
pub(crate) fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}
