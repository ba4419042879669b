//! The local API's settings: where a daemon serves it, and where a command finds it.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::choice::Output;
use super::env::EnvMap;
use super::fault::{ConfigError, Origin};
use super::layers::Layers;
use super::options::Typed;
use super::place::Place;
use super::resolve::{faults, layers_of, state_dir};
use super::setting::{self, Setting};

/// Serving the API over TCP besides its socket.
#[derive(Debug)]
pub struct ApiListen {
    /// Where.
    pub address: SocketAddr,
    /// What every request must show.
    pub token: SecretString,
}

/// Flags of the commands that talk to a daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientOptions {
    /// State dir of the daemon [default: $XDG_STATE_HOME/agent-runner]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Talk to a daemon that serves its API over TCP, at this http URL
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// File with that API's token
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<String>,
    /// Config file [default: $XDG_CONFIG_HOME/agent-runner/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
}

/// Where a command finds the daemon that it talks to.
#[derive(Debug)]
pub struct ClientConfig {
    /// The daemon's state dir.
    pub state_dir: PathBuf,
    /// Its API over TCP, where that is asked for, and the token for it.
    pub api: Option<(Url, SecretString)>,
    /// How events are printed.
    pub output: Output,
    /// What a person should know of these settings although nothing is wrong with them.
    pub warnings: Vec<String>,
}

/// Reads the settings of a command that talks to a daemon. `output`: as typed.
pub fn resolve_client(
    options: &ClientOptions,
    output: Option<&str>,
    env: &EnvMap,
    place: &Place,
) -> Result<ClientConfig, ConfigError> {
    let mut typed = Typed::new();
    let texts = [
        (&setting::STATE_DIR, options.state_dir.as_deref()),
        (&setting::API, options.api.as_deref()),
        (&setting::API_TOKEN_FILE, options.api_token_file.as_deref()),
        (&setting::CONFIG, options.config.as_deref()),
        (&setting::OUTPUT, output),
    ];
    for (setting, value) in texts {
        if let Some(value) = value {
            typed.insert(setting.key, vec![value.to_owned()]);
        }
    }
    let mut layers = layers_of(typed, env, place);
    // A daemon that is asked for by its state dir is not looked for at another place.
    let api = match options.state_dir {
        Some(_) if options.api.is_none() => None,
        _ => api(&mut layers),
    };
    let config = ClientConfig {
        state_dir: state_dir(&mut layers).unwrap_or_default(),
        api,
        output: layers.value_or(&setting::OUTPUT, Output::Pretty, Output::parse),
        warnings: std::mem::take(&mut layers.warnings),
    };
    faults(layers.faults)?;
    Ok(config)
}

fn api(layers: &mut Layers<'_>) -> Option<(Url, SecretString)> {
    let url = layers.value(&setting::API, |text| {
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        match (url.scheme(), url.host()) {
            ("http", Some(_)) => Ok(url),
            _ => Err(format!(
                "`{text}` is no http URL; to reach a daemon over TLS, put a tunnel before it \
                 (ssh -L) and name the tunnel's end"
            )),
        }
    })?;
    let token = token(layers, &setting::API)?;
    Some((url, token))
}

/// The API's token, without which `setting` is wrong.
fn token(layers: &mut Layers<'_>, setting: &Setting) -> Option<SecretString> {
    let token = layers.secret(&setting::API_TOKEN_FILE);
    if token.is_none() {
        let message = "over TCP the API needs a token: give --api-token-file FILE";
        layers.fault(Origin::Flag(setting.flag.to_owned()), message);
    }
    token
}

/// Where a daemon serves its API over TCP, if it does.
pub(super) fn listen(layers: &mut Layers<'_>) -> Option<ApiListen> {
    let address = layers.value(&setting::API_LISTEN, |text| {
        let wanted = || format!("`{text}` is not ADDRESS:PORT, such as 127.0.0.1:4780");
        text.parse::<SocketAddr>().map_err(|_| wanted())
    })?;
    let token = token(layers, &setting::API_LISTEN)?;
    Some(ApiListen { address, token })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::CommandKind;

    fn resolve(pairs: &[(&str, &str)]) -> Result<ClientConfig, String> {
        let mut env = vec![("HOME", "/nowhere")];
        env.extend(pairs);
        let place = Place {
            command: CommandKind::Start,
            cwd: PathBuf::from("/"),
            container: false,
            agents: vec!["claude"],
        };
        let env = env.into_iter().collect();
        resolve_client(&ClientOptions::default(), None, &env, &place)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_daemon_over_tcp_needs_a_url_that_we_speak_and_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "t-1\n").unwrap();
        let file = file.to_str().unwrap();
        let (url, token) = ("AGENT_RUNNER_API", "AGENT_RUNNER_API_TOKEN_FILE");
        let config = resolve(&[(url, "http://127.0.0.1:4780"), (token, file)]).unwrap();
        let (at, shown) = config.api.unwrap();
        assert_eq!(at.port(), Some(4780));
        assert_eq!(shown.expose_secret(), "t-1");
        let refused = resolve(&[(url, "http://127.0.0.1:4780")]).unwrap_err();
        assert!(refused.contains("--api-token-file"), "{refused}");
        let refused = resolve(&[(url, "https://h:1"), (token, file)]).unwrap_err();
        assert!(refused.contains("ssh -L"), "{refused}");
        assert!(resolve(&[]).unwrap().api.is_none());
    }
}
