//! The module tiers: a module may use only modules of a lower tier.
//!
//! Reads every `crate::…` path in `src` outside comments and tests. What cargo would enforce
//! between crates, this enforces between modules of one crate.

mod source;

/// Each module's tier. The longest entry that fits a path counts, so that a pure part of a module
/// (`hub::protocol`) may lie lower than the rest of it.
const TIERS: &[(&str, u8)] = &[
    ("clock", 0),
    ("crash_point", 0),
    ("exit", 0),
    ("files", 0),
    ("ids", 0),
    ("image", 0),
    ("loopback", 0),
    ("config", 1),
    ("event", 1),
    ("frame", 1),
    ("redact", 1),
    ("agent", 2),
    ("hub::close", 2),
    // The conversation as a file; turns read what others wrote into it.
    ("hub::file", 4),
    ("hub::pi", 2),
    ("hub::protocol", 2),
    ("hub::state", 2),
    ("session::state", 5),
    // Pure as well, and judges what adapters have seen.
    ("turn::outcome", 3),
    ("turn::call", 3),
    ("turn::activity", 4),
    ("turn::approval", 4),
    ("turn::choices", 4),
    ("turn::briefing", 4),
    ("turn::silence", 5),
    ("turn::seen", 5),
    ("turn::recap", 6),
    ("turn::policy", 6),
    ("journal", 3),
    ("private_socket", 3),
    ("process", 3),
    // The runtime's seam: no tier below the first effects may spawn.
    ("tasks", 3),
    ("tls", 3),
    ("spool", 4),
    ("init", 5),
    ("install", 5),
    ("sandbox", 5),
    ("shim", 5),
    ("workspace", 5),
    ("hub", 6),
    ("turn", 6),
    ("local_hub", 7),
    ("scripted_model", 7),
    ("session", 7),
    ("api", 8),
    ("daemon", 9),
    ("doctor", 10),
    ("cli", 11),
];

/// What a module must not use even though it lies lower, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "agent",
        &["hub"],
        "adapters know events, not where they are sent",
    ),
    (
        "hub",
        &["agent", "frame", "process", "spool", "shim", "sandbox"],
        "the Hub link sees events and never a CLI's bytes",
    ),
    (
        "local_hub",
        &[
            "agent", "frame", "hub", "journal", "process", "spool", "shim", "sandbox", "turn",
        ],
        "the embedded Hub shares only the wire types with the lead, so that the two cannot hide each other's faults",
    ),
    (
        "scripted_model",
        &[
            "agent",
            "event",
            "frame",
            "hub",
            "journal",
            "process",
            "redact",
            "spool",
            "shim",
            "sandbox",
            "turn",
            "workspace",
        ],
        "the model server knows nothing of the runner",
    ),
    (
        "shim",
        &[
            "agent", "event", "frame", "hub", "journal", "redact", "tasks",
        ],
        "the shim moves bytes and knows nothing of what they mean",
    ),
];

/// What may make system calls although it lies in a pure tier: it dies, in builds for tests only.
const DIES: &str = "src/crash_point.rs";

/// Exceptions to [`FORBIDDEN`].
const SHARED: &[(&str, &str)] = &[("local_hub", "hub::protocol")];

#[test]
fn every_module_uses_only_lower_tiers() {
    let mut faults = Vec::new();
    for file in source::rust_files("src") {
        let name = file.name();
        if file.is_test() || name == "src/lib.rs" || name == "src/main.rs" {
            continue;
        }
        let module = module_path(&name);
        let Some((own, tier)) = tier_of(&module) else {
            faults.push(format!(
                "{name}: module `{module}` has no tier in {}",
                file!()
            ));
            continue;
        };
        for used in used_paths(&without_comments(file.code())) {
            if top(&used) == top(own) && !is_pure_part(own) {
                continue;
            }
            match tier_of(&used) {
                None => faults.push(format!(
                    "{name}: `crate::{used}` has no tier in {}",
                    file!()
                )),
                Some((target, _)) if target == own => {}
                Some((target, lower)) if lower >= tier => faults.push(format!(
                    "{name}: tier {tier} uses `crate::{used}`, which is `{target}` of tier {lower}"
                )),
                Some(_) => faults.extend(
                    forbidden(own, &used)
                        .map(|why| format!("{name}: must not use `crate::{used}`: {why}")),
                ),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_pure_tiers_know_no_runtime_and_no_system_calls() {
    let banned = ["tokio", "axum", "rusqlite", "nix", "rustix", "git2"];
    let mut faults = Vec::new();
    for file in source::rust_files("src") {
        let name = file.name();
        if file.is_test() || [DIES, "src/lib.rs", "src/main.rs"].contains(&name.as_str()) {
            continue;
        }
        if tier_of(&module_path(&name)).is_none_or(|(_, tier)| tier > 2) {
            continue;
        }
        let code = without_comments(file.code());
        for (index, line) in code.lines().enumerate() {
            if let Some(word) = banned.iter().find(|word| uses(line, word)) {
                faults.push(format!("{name}:{}: uses `{word}`", index + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_scanner_reads_nested_groups() {
    let text = "use crate::a::{b, c::{self, D}};\nuse crate::{e, f::g};\nlet x = crate::h::i();";
    assert_eq!(
        used_paths(text),
        ["a::b", "a::c::self", "a::c::D", "e", "f::g", "h::i"]
    );
}

fn uses(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        line[at + name.len()..].starts_with("::") && !part_of_a_name(before)
    })
}

fn part_of_a_name(before: Option<char>) -> bool {
    before.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn forbidden(own: &str, used: &str) -> Option<&'static str> {
    let shared = |(from, to): &&(&str, &str)| *from == top(own) && within(used, to);
    if SHARED.iter().any(|pair| shared(&pair)) {
        return None;
    }
    let (_, _, why) = FORBIDDEN
        .iter()
        .find(|(from, list, _)| *from == top(own) && list.contains(&top(used)))?;
    Some(why)
}

fn is_pure_part(entry: &str) -> bool {
    entry.contains("::")
}

fn top(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

fn within(path: &str, entry: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn tier_of(path: &str) -> Option<(&'static str, u8)> {
    TIERS
        .iter()
        .filter(|(entry, _)| within(path, entry))
        .max_by_key(|(entry, _)| entry.len())
        .copied()
}

/// `src/hub/link.rs` is `hub::link`.
fn module_path(file: &str) -> String {
    file.trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .replace('/', "::")
}

fn without_comments(code: &str) -> String {
    let mut kept = String::new();
    for line in code.lines() {
        if !line.trim_start().starts_with("//") {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    kept
}

/// The paths after each `crate::`, with groups taken apart.
fn used_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if !part_of_a_name(before) {
            use_tree(&code[at + "crate::".len()..], "", &mut paths);
        }
    }
    paths
}

/// Reads one use tree; gives what follows it.
fn use_tree<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() {
                return rest;
            }
            rest = use_tree(rest, prefix, paths).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match prefix {
        "" => name.to_owned(),
        _ => format!("{prefix}::{name}"),
    };
    if let Some(rest) = rest.strip_prefix("::") {
        return use_tree(rest, &path, paths);
    }
    paths.push(path);
    // A glob, or whatever else this scanner does not know, ends the tree.
    if end == 0 {
        rest.get(1..).unwrap_or("")
    } else {
        rest
    }
}
