//! Settings that take one of a few words.

use std::fmt;

/// An enum whose variants are words that a person types.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every choice, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Reads the word; the error says which words there are.
            pub fn parse(word: &str) -> Result<Self, String> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|choice| choice.as_str() == word)
                    .ok_or_else(|| unknown(word, &[$($word),+]))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&word).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// An agent that the program knows, by the name that `--agent` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgentName(&'static str);

impl AgentName {
    /// The one of the `known` agents that has this name.
    pub fn parse(word: &str, known: &[&'static str]) -> Result<Self, String> {
        let found = known.iter().copied().find(|name| *name == word);
        found.map(Self).ok_or_else(|| unknown(word, known))
    }

    /// The agent of a setting that nobody made: the first of the `known` ones.
    pub(super) fn default_of(known: &[&'static str]) -> Self {
        Self(known.first().copied().unwrap_or_default())
    }

    /// The name.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

choice! {
    /// Whether tool calls wait for the Hub's word.
    Gate {
        /// None does.
        Off = "off",
        /// Each does that the agent's CLI lets us hold.
        Ask = "ask",
    }
}

choice! {
    /// What becomes of a call about which the Hub says nothing in time.
    GateDefault {
        /// It goes on.
        Allow = "allow",
        /// It does not.
        Deny = "deny",
    }
}

choice! {
    /// How many turns one process of the CLI serves.
    Mode {
        /// Many, where that tells more.
        Auto = "auto",
        /// As many as the session has.
        Live = "live",
        /// One process a turn.
        Exec = "exec",
    }
}

choice! {
    /// What the CLI's stdout is.
    Stdio {
        /// A pseudo-terminal, so that the CLI does not hold its lines back.
        Pty = "pty",
        /// A pipe.
        Pipe = "pipe",
    }
}

choice! {
    /// Who consents to tool calls.
    Approve {
        /// Nobody is asked.
        Auto = "auto",
        /// A person, for everything that the CLI lets us hold.
        Ask = "ask",
        /// The rules of the config file.
        Policy = "policy",
    }
}

choice! {
    /// What becomes of a request that no rule decides.
    Otherwise {
        /// It waits for a person.
        Ask = "ask",
        /// It is denied.
        Deny = "deny",
        /// It is permitted.
        Allow = "allow",
    }
}

choice! {
    /// Whether the Hub's key stands in the URL of the WebSocket, where logs of servers show it.
    KeyInUrl {
        /// Where the Hub refuses us without.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

choice! {
    /// Whose home folder the CLI sees.
    AgentHome {
        /// The user's own, with their login and settings.
        User = "user",
        /// One in the state dir.
        State = "state",
    }
}

choice! {
    /// Where agents run.
    SandboxKind {
        /// As processes of this machine.
        Local = "local",
        /// In a container each, made through Docker's API.
        Docker = "docker",
    }
}

choice! {
    /// How events are printed.
    Output {
        /// For people.
        Pretty = "pretty",
        /// One JSON object a line.
        Jsonl = "jsonl",
    }
}

choice! {
    /// The least urgent log lines that are shown.
    LogLevel {
        /// None.
        Off = "off",
        /// Data is lost or an operator is needed.
        Error = "error",
        /// Unexpected, nothing lost.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

fn unknown(word: &str, known: &[&str]) -> String {
    match known {
        [only] => format!("`{word}` is unknown; there is only `{only}`"),
        _ => format!("`{word}` is not one of {}", known.join(", ")),
    }
}
