//! The manifests for people are what the tools that read them expect.

use std::path::Path;
use std::process::Command;

const COMPOSE: &str = "images/compose.yaml";
const JOB: &str = "images/kubernetes-job.yaml";

/// Runs a validator; nothing where it is not installed.
#[allow(clippy::print_stderr)]
fn validate(tool: &str, words: &[&str]) -> Option<(bool, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = root.join("tests/manifests/venv/bin").join(tool);
    if !tool.exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is missing",
            tool.display()
        );
        eprintln!(
            "skipped: no {}; scripts/install-test-tools installs it",
            tool.display()
        );
        return None;
    }
    let output = Command::new(tool)
        .args(words)
        .current_dir(root)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

/// The file with one line changed, which no validator may let pass.
fn broken(file: &str, from: &str, to: &str) -> tempfile::NamedTempFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(from), "{file} has {from}");
    let copy = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(copy.path(), text.replace(from, to)).unwrap();
    copy
}

#[test]
fn the_kubernetes_job_fits_the_schema_of_kubernetes() {
    let strict = |file: &str| validate("kubernetes-validate", &["--strict", file]);
    let Some((passes, said)) = strict(JOB) else {
        return;
    };
    assert!(passes && said.matches("passed").count() == 2, "{said}");
    let wrong = broken(JOB, "backoffLimit: 4", "backofLimit: 4");
    let (passes, said) = strict(wrong.path().to_str().unwrap()).unwrap();
    assert!(!passes && said.contains("backofLimit"), "{said}");
}

#[test]
fn the_compose_file_fits_the_schema_of_compose() {
    let check = |file: &str| {
        let words = ["--builtin-schema", "vendor.compose-spec", file];
        validate("check-jsonschema", &words)
    };
    let Some((passes, said)) = check(COMPOSE) else {
        return;
    };
    assert!(passes, "{said}");
    let wrong = broken(COMPOSE, "stop_grace_period", "stop_grace");
    let (passes, said) = check(wrong.path().to_str().unwrap()).unwrap();
    assert!(!passes && said.contains("stop_grace"), "{said}");
}

#[test]
fn the_docs_show_the_compose_file_as_it_is() {
    let read = |file: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
    };
    let docs = read("docs/images.md");
    for file in [COMPOSE, JOB] {
        let shown = format!("```yaml\n{}```", read(file));
        assert!(docs.contains(&shown), "docs/images.md does not show {file}");
    }
}
