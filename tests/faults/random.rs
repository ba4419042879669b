//! Death at random moments.
//!
//! The moments are drawn over the measured length of a whole turn, from the daemon's start to its
//! end, in exec form and in live form. Half of the rounds have a Hub that hangs up or forgets to
//! acknowledge.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::process::{Identity, PidFd};
use nix::sys::signal::Signal;

use crate::hub::Manners;
use crate::judge::Figures;
use crate::place::{Fault, Place};
use crate::rounds::{AGENTS, Ground, asked, each};
use crate::scenario::{Scenario, finish, is_alive, settle};

/// Between two looks at the session.
const LOOK: Duration = Duration::from_millis(3);

/// Rounds without `FAULTS_ROUNDS`.
const ROUNDS: u64 = 40;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Daemon,
    Shim,
    Cli,
    DaemonAndCli,
    All,
}

/// A kill after a while.
#[derive(Debug, Clone, Copy)]
struct Blow {
    after: Duration,
    target: Target,
}

/// A round to be played.
struct Round {
    agent: &'static str,
    scenario: Scenario,
    blows: Vec<Blow>,
    manners: Manners,
}

/// What a kill met.
#[derive(Debug, Clone, Copy)]
struct Met {
    target: Target,
    /// There was a CLI, so that its turn could be interrupted.
    working: bool,
    /// The daemon had taken up the turn, and there was no CLI yet.
    spawning: bool,
}

/// All rounds together.
#[derive(Debug, Default)]
struct Total {
    rounds: usize,
    steps: usize,
    unread: usize,
    repeats: usize,
    most_repeats: usize,
    daemon_kills: usize,
    /// Daemon kills after which the same CLI process finished the turn.
    undisturbed: usize,
    spawning: usize,
    /// From the CLI's death to the Hub's word of it.
    noticed: Vec<Duration>,
}

#[test]
fn a_session_survives_kills_at_random_moments() {
    let seed = asked("FAULTS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let count = asked("FAULTS_ROUNDS").unwrap_or(ROUNDS);
    let blows = asked("FAULTS_BLOWS").unwrap_or(1);
    println!("FAULTS_SEED={seed} FAULTS_ROUNDS={count} FAULTS_BLOWS={blows}");
    let ground = Ground::new();
    let length = turn_length(&ground);
    let mut dice = Dice(seed);
    let rounds: Vec<Round> = (0..count)
        .map(|_| round(&mut dice, length, blows))
        .collect();
    let total = Mutex::new(Total::default());
    let faults = each(&rounds, |index, round| {
        let played = ground.round(round.agent, round.scenario, round.manners, |place| {
            play(place, &round.blows)
        });
        let (met, figures) = played.map_err(|fault| {
            let blows = &round.blows;
            format!("round {index} of FAULTS_SEED={seed}, {blows:?}: {fault}")
        })?;
        let interrupted = total.lock().unwrap().add(&met, figures);
        if interrupted {
            let blows = &round.blows;
            return Err(format!(
                "round {index} of FAULTS_SEED={seed}, {blows:?}: the death of the daemon alone \
                 disturbed the CLI: {met:?}"
            ));
        }
        Ok(())
    });
    println!("{}", total.into_inner().unwrap());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// From the daemon's start to the end of an undisturbed turn.
fn turn_length(ground: &Ground) -> Duration {
    let nicely = Manners::default();
    let measured = ground.round(AGENTS[0], Scenario::Plain, nicely, |place| {
        let began = Clock.now();
        place.start();
        settle(place, 1)?;
        let length = began.elapsed();
        finish(place)?;
        Ok(length)
    });
    measured.unwrap().0
}

fn round(dice: &mut Dice, length: Duration, blows: u64) -> Round {
    use Target::{All, Cli, Daemon, DaemonAndCli, Shim};
    let targets = [Daemon, Daemon, Daemon, Shim, Cli, Cli, DaemonAndCli, All];
    let length = u64::try_from(length.as_micros()).unwrap();
    let blow = |dice: &mut Dice| Blow {
        after: Duration::from_micros(dice.below(length)),
        target: targets[usize::try_from(dice.below(8)).unwrap()],
    };
    let some = |dice: &mut Dice| Some(usize::try_from(3 + dice.below(30)).unwrap());
    let manners = match dice.below(4) {
        0 => Manners {
            hang_up_after: some(dice),
            forget_each: None,
        },
        1 => Manners {
            hang_up_after: None,
            forget_each: some(dice),
        },
        _ => Manners::default(),
    };
    let kinds = [
        (AGENTS[0], Scenario::Plain),
        (AGENTS[1], Scenario::Plain),
        (AGENTS[0], Scenario::Live),
    ];
    let (agent, scenario) = kinds[usize::try_from(dice.below(3)).unwrap()];
    Round {
        agent,
        scenario,
        blows: (0..blows).map(|_| blow(dice)).collect(),
        manners,
    }
}

fn play(place: &mut Place, blows: &[Blow]) -> Result<Vec<Met>, Fault> {
    place.start();
    let mut met = Vec::new();
    for blow in blows {
        let moment = Clock.now() + blow.after;
        // Somebody looks at the session all the time, whatever changes in it.
        while Clock.now() < moment {
            place.look();
            std::thread::sleep(LOOK.min(moment.saturating_duration_since(Clock.now())));
        }
        met.push(strike(place, blow.target));
        place.revive()?;
    }
    settle(place, 1)?;
    finish(place)?;
    Ok(met)
}

fn strike(place: &mut Place, target: Target) -> Met {
    let (shim, cli) = place.processes();
    let begun = place.runs().len();
    let met = Met {
        target,
        working: cli.is_some_and(is_alive),
        spawning: begun > 0 && cli.is_none(),
    };
    if matches!(target, Target::Daemon | Target::DaemonAndCli | Target::All) {
        place.signal(Signal::SIGKILL);
    }
    if matches!(target, Target::Shim | Target::All) {
        kill(shim);
    }
    if matches!(target, Target::Cli | Target::DaemonAndCli | Target::All) {
        kill(cli);
        if met.working {
            place.cli_killed = Some(Clock.now());
        }
    }
    met
}

fn kill(process: Option<Identity>) {
    // Over already, most likely: then the round shows that nothing comes of it.
    if let Some(Ok(Some(process))) = process.map(PidFd::open) {
        drop(process.signal(rustix::process::Signal::KILL));
    }
}

impl Total {
    /// Adds a round; whether the death of daemons alone disturbed the CLI.
    fn add(&mut self, met: &[Met], figures: Figures) -> bool {
        self.rounds += 1;
        self.steps += figures.steps;
        self.unread += figures.unread;
        self.repeats += figures.repeats;
        self.most_repeats = self.most_repeats.max(figures.repeats);
        self.noticed.extend(figures.noticed);
        let daemons = met.iter().filter(|met| met.target == Target::Daemon);
        let only_daemons = daemons.count() == met.len();
        if !only_daemons {
            return false;
        }
        let spawning = met.iter().any(|met| met.spawning);
        self.daemon_kills += 1;
        self.spawning += usize::from(spawning);
        self.undisturbed += usize::from(figures.runs == 1);
        figures.runs != 1 && !spawning
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut noticed = self.noticed.clone();
        noticed.sort();
        let at = |part: usize| noticed.get(noticed.len().saturating_sub(1) * part / 100);
        write!(
            f,
            "{} rounds without a fault: {} steps written, all at the Hub but {} that a killed shim \
             had not read; {} frames repeated on the wire, at most {} in a round; daemon killed in {} rounds ({} while a \
             CLI was being started), CLI undisturbed in {}; CLI's death at the Hub after p50 {:?}, \
             max {:?} (n={})",
            self.rounds,
            self.steps,
            self.unread,
            self.repeats,
            self.most_repeats,
            self.daemon_kills,
            self.spawning,
            self.undisturbed,
            at(50),
            at(100),
            noticed.len(),
        )
    }
}

/// Numbers that a seed repeats (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
