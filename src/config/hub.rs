//! The Hub to join, and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::GateConfig;
use super::choice::{Gate, GateDefault, KeyInUrl};
use super::duration::{parse_duration, show_duration};
use super::fault::Origin;
use super::layers::{Layers, quoted};
use super::secret::read_key_file;
use super::setting;
use crate::ids::SessionId;

/// How long an unreachable Hub is tried by default: a Hub that starts beside us is up by then.
const HUB_WAIT: Duration = Duration::from_mins(1);

/// How long streamed text is joined by default: not to be seen, and a tenth of the frames.
const COALESCE: Duration = Duration::from_millis(40);

/// Text that is older than this is no live text.
const MOST_COALESCE: Duration = Duration::from_secs(1);

/// The Hub to join, and as which session.
#[derive(Debug)]
pub struct HubConfig {
    /// Where it is; `None`: to be discovered with the key.
    pub url: Option<Url>,
    /// Proves who we are.
    pub key: Option<SecretString>,
    /// The file that the key is from.
    pub key_file: Option<PathBuf>,
    /// Whether the key stands in the WebSocket's URL, besides header and first frame.
    pub key_in_url: KeyInUrl,
    /// How long streamed text is joined before it is sent.
    pub coalesce: Duration,
    /// Whether the Hub gets the session's file, too.
    pub session_file: bool,
    /// The organization that the session belongs to.
    pub org: Option<String>,
    /// How long an unreachable Hub is tried before the first contact.
    pub wait: Duration,
    /// Whether tool calls wait for its word.
    pub gate: GateConfig,
    /// The session to lead; `None`: create one.
    pub session: Option<SessionId>,
    /// End after the session's task.
    pub once: bool,
}

impl HubConfig {
    /// Reads the key again where it came from: a key in a variable never changes, one in a file
    /// may (a mounted secret). `None`: there is nothing to read.
    pub fn reread(
        &self,
    ) -> Option<impl Fn() -> Result<SecretString, String> + Send + Sync + use<>> {
        let path = self.key_file.clone()?;
        Some(move || read_key_file(&path).map(|file| file.secret))
    }
}

pub(super) fn hub(layers: &mut Layers<'_>, once: bool) -> HubConfig {
    let url = layers.value(&setting::HUB, hub_url);
    let key = hub_key(layers);
    let wait = layers.value(&setting::HUB_WAIT, parse_duration);
    if wait.is_none() {
        layers.show(
            setting::HUB_WAIT.key,
            quoted(&show_duration(HUB_WAIT)),
            Origin::Default,
        );
    }
    let key_file = key
        .is_some()
        .then(|| layers.raw(&setting::HUB_KEY_FILE))
        .flatten()
        .and_then(|raw| layers.absolute(&raw));
    HubConfig {
        url,
        key,
        key_file,
        key_in_url: layers.value_or(&setting::HUB_KEY_IN_URL, KeyInUrl::Auto, KeyInUrl::parse),
        coalesce: coalesce(layers),
        session_file: layers.switch_or(&setting::HUB_SESSION_FILE, true),
        org: layers.text(&setting::HUB_ORG),
        wait: wait.unwrap_or(HUB_WAIT),
        gate: gate(layers),
        session: layers.value(&setting::SESSION, |text| {
            text.parse()
                .map_err(|error: crate::ids::InvalidSessionId| error.to_string())
        }),
        once,
    }
}

fn gate(layers: &mut Layers<'_>) -> GateConfig {
    let usual = GateConfig::default();
    let timeout = layers.value(&setting::HUB_GATE_TIMEOUT, parse_duration);
    if timeout.is_none() {
        let value = quoted(&show_duration(usual.timeout));
        layers.show(setting::HUB_GATE_TIMEOUT.key, value, Origin::Default);
    }
    GateConfig {
        gate: layers.value_or(&setting::HUB_GATE, usual.gate, Gate::parse),
        timeout: timeout.unwrap_or(usual.timeout),
        default: layers.value_or(
            &setting::HUB_GATE_DEFAULT,
            usual.default,
            GateDefault::parse,
        ),
    }
}

/// The key file, being a flag or a setting of its own, comes before the variables that hold keys.
fn hub_key(layers: &mut Layers<'_>) -> Option<SecretString> {
    if layers.raw(&setting::HUB_KEY_FILE).is_some() {
        return layers.secret(&setting::HUB_KEY_FILE);
    }
    let raw = layers.raw(&setting::HUB_KEY)?;
    layers.show(setting::HUB_KEY.key, quoted("***"), raw.origin);
    let key = raw.values.into_iter().next()?;
    Some(SecretString::from(key.trim().to_owned()))
}

fn hub_url(text: &str) -> Result<Url, String> {
    let hint = "write it as https://HOST or wss://HOST";
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL ({error}); {hint}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it holds a secret.
        return Err("the URL holds credentials; give the key by --hub-key-file instead".to_owned());
    }
    match url.scheme() {
        "http" | "https" | "ws" | "wss" if url.has_host() => Ok(url),
        _ => Err(format!("`{text}` is no Hub's URL; {hint}")),
    }
}

fn coalesce(layers: &mut Layers<'_>) -> Duration {
    let read = |text: &str| match text {
        "none" => Ok(Duration::ZERO),
        text => match parse_duration(text)? {
            time if time <= MOST_COALESCE => Ok(time),
            _ => Err(format!("`{text}` is too long; write none, or at most 1s")),
        },
    };
    if let Some(time) = layers.value(&setting::HUB_COALESCE, read) {
        return time;
    }
    let shown = quoted(&show_duration(COALESCE));
    layers.show(setting::HUB_COALESCE.key, shown, Origin::Default);
    COALESCE
}
