//! Where the agent runs, and the limits of a container.

use super::choice::SandboxKind;
use super::fault::Origin;
use super::layers::{Layers, quoted};
use super::setting;
use super::size::{parse_size, show_size};

/// The least memory of a container: below, the smallest agent CLI does not start.
const LEAST_MEMORY: u64 = 128 << 20;
/// What builds and tests of a usual project take beside the CLI.
const MEMORY: u64 = 4 << 30;
/// Far above what a build starts, far below what a fork bomb needs to hurt the machine.
const PIDS: i64 = 2048;
/// More is a slip.
const MOST_CPUS: f64 = 4096.0;

/// Where the agent runs.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxConfig {
    /// On this machine or in a container.
    pub kind: SandboxKind,
    /// The container's image; none: the one of ours for the agent.
    pub image: Option<String>,
    /// The container's network, in the engine's words.
    pub network: String,
    /// The most memory of the container in bytes, swap included.
    pub memory: u64,
    /// The most processors of the container, in billionths; none: all.
    pub nano_cpus: Option<i64>,
    /// The most processes and threads in the container.
    pub pids: i64,
    /// Whether the kernel keeps the agent from all files but its own and the system's, in a
    /// container or not.
    pub landlock: bool,
}

pub(super) fn sandbox(layers: &mut Layers<'_>) -> SandboxConfig {
    SandboxConfig {
        kind: layers.value_or(&setting::SANDBOX, SandboxKind::Local, SandboxKind::parse),
        image: layers.value(&setting::SANDBOX_IMAGE, image),
        network: layers.value_or(&setting::SANDBOX_NETWORK, "bridge".to_owned(), network),
        memory: memory(layers),
        nano_cpus: layers.value(&setting::SANDBOX_CPUS, cpus),
        pids: layers.value_or(&setting::SANDBOX_PIDS, PIDS, pids),
        landlock: layers.switch(&setting::LANDLOCK),
    }
}

fn memory(layers: &mut Layers<'_>) -> u64 {
    let parse = |text: &str| parse_size(text, LEAST_MEMORY);
    if let Some(size) = layers.value(&setting::SANDBOX_MEMORY, parse) {
        return size;
    }
    let value = quoted(&show_size(MEMORY));
    layers.show(setting::SANDBOX_MEMORY.key, value, Origin::Default);
    MEMORY
}

fn image(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if text.starts_with('-') || text.contains(odd) {
        return Err(format!(
            "`{text}` is no image; write NAME:TAG or NAME@sha256:DIGEST"
        ));
    }
    Ok(text.to_owned())
}

/// The engine knows names of networks; those that lead into another container's do not belong here.
fn network(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no network; write none, bridge, host, or the name of one of the engine's"
    ))
}

fn cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no number of processors; write one as 2 or 1.5");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.01..=MOST_CPUS).contains(&number) {
        return Err(wrong());
    }
    // In hundredths, as the engine counts: no float reaches the billions.
    let hundredths = format!("{:.0}", number * 100.0);
    let hundredths: i64 = hundredths.parse().map_err(|_| wrong())?;
    Ok(hundredths * 10_000_000)
}

fn pids(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number @ 16..=4_194_304) => Ok(number),
        _ => Err(format!(
            "`{text}` is no number of processes between 16 and 4194304"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_in_hundredths() {
        assert_eq!(cpus("2"), Ok(2_000_000_000));
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus("0.25"), Ok(250_000_000));
        for wrong in ["0", "-1", "two", "NaN", "inf", "99999"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(network("agents_net-1.x").is_ok());
        assert!(network("container:other").is_err());
        assert!(image("ghcr.io/a/b:1@sha256:00").is_ok());
        assert!(image("--privileged").is_err());
        assert!(image("a b").is_err());
        assert!(pids("8").is_err() && pids("many").is_err());
        assert_eq!(pids("64"), Ok(64));
    }
}
