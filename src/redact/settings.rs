//! The secrets in settings: what by its name is one.
//!
//! A variable, a JSON field, a header or a flag whose name says key, token, secret, password and
//! the like holds a secret. A reference (`${NAME}`, `{env:NAME}`, a path) is none: what it leads to
//! is found where it stands. A guess in either direction costs little: a value masked that need
//! not be, or one that its owner has to name better.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

/// Words that a secret's name has among its own.
const WORDS: &[&str] = &[
    "key",
    "keys",
    "apikey",
    "token",
    "tokens",
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "bearer",
    "cookie",
];
/// The same in variables, whose words are often written as one.
const PARTS: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];
/// What stands in front of a secret in a header.
const SCHEMES: &[&str] = &["bearer", "basic", "token", "apikey"];
/// Kinds of logins whose every field is one (OpenCode 1.18.33's `auth.json`).
const LOGINS: &[&str] = &["api", "oauth", "wellknown"];

/// The secrets in a variable: its value, or what in it is one where it is JSON or an address (a
/// proxy, a database).
pub fn in_variable(name: &str, value: &str, found: &mut Vec<SecretString>) {
    if value.starts_with(['{', '[']) && in_json(value, found) {
        return;
    }
    in_url(value, found);
    if is_secret(name) || PARTS.iter().any(|part| name.contains(part)) {
        keep(value, found);
    }
}

/// The secrets in JSON; whether it is JSON.
pub fn in_json(text: &str, found: &mut Vec<SecretString>) -> bool {
    let Ok(value) = serde_json::from_str(text) else {
        return false;
    };
    walk(&value, found);
    true
}

fn walk(value: &Value, found: &mut Vec<SecretString>) {
    match value {
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            let is_login = kind.is_some_and(|kind| LOGINS.contains(&kind));
            for (name, value) in fields {
                if is_secret(name) || (is_login && name != "type") {
                    strings(value, found);
                }
                walk(value, found);
            }
        }
        Value::Array(values) => {
            arguments(values, found);
            for value in values {
                walk(value, found);
            }
        }
        Value::String(text) => {
            in_url(text, found);
            in_header(text, found);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A secret may be one text or several.
fn strings(value: &Value, found: &mut Vec<SecretString>) {
    match value {
        Value::String(text) => keep(text, found),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        _ => {}
    }
}

/// `--api-key VALUE` and `--api-key=VALUE`.
fn arguments(values: &[Value], found: &mut Vec<SecretString>) {
    let mut is_value = false;
    for text in values.iter().filter_map(Value::as_str) {
        if std::mem::take(&mut is_value) && !text.starts_with('-') {
            keep(text, found);
            continue;
        }
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (text, None),
        };
        if flag.starts_with('-') && is_secret(flag) {
            match value {
                Some(value) => keep(value, found),
                None => is_value = true,
            }
        }
    }
}

/// `Authorization: Bearer VALUE`, as programs take it for an argument.
fn in_header(text: &str, found: &mut Vec<SecretString>) {
    let Some((name, value)) = text.split_once(':') else {
        return;
    };
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_name(name) && is_secret(name) && !value.starts_with("//") {
        keep(value, found);
    }
}

/// The password and the parameters of an address, or the token in the place of its user.
fn in_url(text: &str, found: &mut Vec<SecretString>) {
    if !text.contains("://") {
        return;
    }
    let Ok(url) = Url::parse(text) else { return };
    let is_web = matches!(url.scheme(), "http" | "https");
    let login = match url.password() {
        Some(password) => Some(password),
        None => Some(url.username()).filter(|user| is_web && !user.is_empty()),
    };
    if let Some(login) = login {
        keep(login, found);
        // As the program has it that the address is for.
        let plain = percent_decode_str(login).decode_utf8_lossy();
        if plain != login {
            keep(&plain, found);
        }
    }
    let secret = url.query_pairs().filter(|(name, _)| is_secret(name));
    secret.for_each(|(_, value)| keep(&value, found));
}

fn keep(text: &str, found: &mut Vec<SecretString>) {
    let text = text.trim();
    let is_reference =
        text.starts_with(['/', '$']) || text.starts_with("{env:") || text.starts_with("{file:");
    if is_reference || text.contains("${") {
        return;
    }
    let secret = match text.split_once(' ') {
        Some((scheme, rest)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => rest,
        _ => text,
    };
    found.push(SecretString::from(secret.trim()));
}

/// Whether a name says that its value is a secret: `apiKey`, `X-Api-Key`, `GH_TOKEN`.
fn is_secret(name: &str) -> bool {
    let mut word = String::new();
    let mut before = ' ';
    for letter in name.chars().chain([' ']) {
        let begins = letter.is_ascii_uppercase() && before.is_ascii_lowercase();
        if begins || !letter.is_ascii_alphanumeric() {
            if WORDS.contains(&word.as_str()) {
                return true;
            }
            word.clear();
        }
        if letter.is_ascii_alphanumeric() {
            word.push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    false
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn found(name: &str, value: &str) -> Vec<String> {
        let mut found = Vec::new();
        in_variable(name, value, &mut found);
        found
            .iter()
            .map(|secret| secret.expose_secret().to_owned())
            .collect()
    }

    #[test]
    fn a_name_says_what_is_a_secret() {
        for secret in [
            "OPENAI_API_KEY",
            "apiKey",
            "X-Api-Key",
            "MYAPIKEY",
            "GH_TOKEN",
            "refresh-token",
            "AWS_SECRET_ACCESS_KEY",
            "Authorization",
            "dbPassword",
        ] {
            assert_eq!(found(secret, "abc"), ["abc"], "{secret}");
        }
        for other in ["MODE", "monkey", "authors", "maxTokenizer"] {
            assert!(found(other, "abc").is_empty(), "{other}");
        }
        assert!(found("SSH_KEY", "/home/agent/.ssh/id").is_empty());
        assert!(found("API_KEY", "${OTHER}").is_empty());
    }

    #[test]
    fn json_is_searched_for_the_secrets_in_it() {
        let config = r#"{
            "model": "anthropic/claude", "small_model": "x",
            "provider": {"a": {"options": {"baseURL": "https://u:p4ss@h/v1?api_key=q1&x=y", "apiKey": "k1"}}},
            "mcp": {"b": {"headers": {"Authorization": "Bearer h1", "Accept": "text"},
                "environment": {"MODE": "m", "DB_PASSWORD": "e1"},
                "command": ["srv", "--token", "a1", "--secret=a2", "--port", "80",
                    "--header", "Authorization: Bearer h2", "-H", "X-Note: open", "see: this"]}},
            "c": {"apiKey": "{env:KEY}", "tokens": ["t1", 2]}
        }"#;
        let mut all = found("OPENCODE_CONFIG_CONTENT", config);
        all.sort_unstable();
        assert_eq!(
            all,
            ["a1", "a2", "e1", "h1", "h2", "k1", "p4ss", "q1", "t1"]
        );
        let login = r#"{"anthropic": {"type": "oauth", "refresh": "r1", "access": "s1", "expires": 5},
            "openai": {"type": "api", "key": "k2"}}"#;
        let mut all = found("OPENCODE_AUTH_CONTENT", login);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, ["k2", "r1", "s1"]);
    }

    #[test]
    fn an_address_is_searched_for_the_login_in_it() {
        for (address, secrets) in [
            ("http://me:p4ss@proxy:3128", &["p4ss"][..]),
            (
                "postgres://me:p%40ss@db/x?sslpassword=q",
                &["p%40ss", "p@ss"],
            ),
            ("https://ghp_1@example.com/x.git", &["ghp_1"]),
            ("ssh://git@example.com/x.git", &[]),
            ("https://example.com/#user:pass", &[]),
        ] {
            assert_eq!(found("HTTPS_PROXY", address), secrets, "{address}");
        }
    }

    #[test]
    fn what_only_looks_like_json_is_its_own_value() {
        assert_eq!(found("API_KEY", "{not json"), ["{not json"]);
        assert!(found("OTHER", "{not json").is_empty());
    }
}
