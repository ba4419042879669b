//! Repositories that somebody wrote to do harm: a clone of one fails, or is contained in its folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_runner::workspace::{
    AllowList, CheckpointRequest, CloneError, CloneRequest, Extent, take_checkpoint,
};

use crate::git_server::{Behaviour, GitServer};
use crate::{Bench, run};

/// A folder beside the workspaces that no clone may change, and programs that no clone may run.
struct Canary {
    folder: PathBuf,
}

impl Canary {
    fn new(bench: &Bench) -> Self {
        let folder = bench.path("canary");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "as it was").unwrap();
        let program = folder.join("program");
        fs::write(&program, "#!/bin/sh\ntouch \"$0.ran\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn program(&self) -> String {
        self.folder.join("program").display().to_string()
    }

    fn assert_untouched(&self, what: &str) {
        let mut names: Vec<_> = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["file", "program"], "{what}");
        assert_eq!(
            fs::read_to_string(self.folder.join("file")).unwrap(),
            "as it was",
            "{what}"
        );
    }
}

/// Puts an object as it is into a repository, whatever git would say to it.
fn object(bench: &Bench, kind: &str, content: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(bench.path("origin"))
        .args(["hash-object", "-w", "--literally", "--stdin", "-t", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn bytes_of(id: &str) -> Vec<u8> {
    let pairs = (0..20).map(|n| u8::from_str_radix(&id[n * 2..n * 2 + 2], 16).unwrap());
    pairs.collect()
}

/// A tree of these entries, in this order.
fn tree(bench: &Bench, entries: &[(&str, &[u8], &str)]) -> String {
    let mut content = Vec::new();
    for (mode, name, id) in entries {
        content.extend_from_slice(mode.as_bytes());
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(0);
        content.extend_from_slice(&bytes_of(id));
    }
    object(bench, "tree", &content)
}

/// Makes a tree the newest commit of `main`.
fn commit(bench: &Bench, tree: &str) {
    let text = format!("tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n");
    let id = object(bench, "commit", text.as_bytes());
    fs::write(bench.path("origin/.git/refs/heads/main"), format!("{id}\n")).unwrap();
}

#[test]
fn no_name_in_a_tree_leads_out_of_the_workspace_or_into_git() {
    let bench = Bench::new();
    let canary = Canary::new(&bench);
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let script = format!(
        "[core]\n\tfsmonitor = {0}\n\tsshCommand = {0}\n",
        canary.program()
    );
    let file = object(&bench, "blob", script.as_bytes());
    let away = object(&bench, "blob", canary.folder.as_os_str().as_encoded_bytes());
    let up = object(&bench, "blob", b"../../canary");
    let inner = tree(
        &bench,
        &[("100644", b"config", &file), ("100755", b"file", &file)],
    );
    let names: &[&[u8]] = &[
        b"..",
        b".",
        b".git",
        b".GIT",
        b".Git",
        b"git~1",
        b"GIT~1",
        b".git.",
        b".git ",
        ".git\u{200c}".as_bytes(),
        b".git\\x",
        b"..\\..\\canary\\file",
        b"../../canary/file",
        b"/tmp/x",
        b"a/../../../canary/file",
        b"",
        b"\xff\xfe",
        b"a\nb",
        b"a\x1b[2Jb",
        b"con",
        b"aux.txt",
        b"nul",
    ];
    for name in names {
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        for (mode, id) in [("40000", &inner), ("100755", &file), ("120000", &away)] {
            commit(&bench, &tree(&bench, &[(mode, *name, id)]));
            let what = format!("{mode} {shown}");
            contained(&bench, &server, &canary, &what);
        }
    }
    // A link, and then something below it: by the same name, and in another case.
    for (first, second) in [(&b"a"[..], &b"a"[..]), (b"A", b"a")] {
        for link in [&away, &up] {
            let entries = [
                ("120000", first, link.as_str()),
                ("40000", second, inner.as_str()),
            ];
            commit(&bench, &tree(&bench, &entries));
            contained(&bench, &server, &canary, "a link and a folder");
        }
    }
}

/// Clones by both ways, and looks at what became of it.
fn contained(bench: &Bench, server: &GitServer, canary: &Canary, what: &str) {
    let workspace = bench.path("workspaces/w");
    // The way over the network and that of this machine differ in getting the objects alone.
    for url in [server.url("origin"), "origin".to_owned()]
        .into_iter()
        .take(1 + usize::from(what.starts_with("120000")))
    {
        if run(&bench.request(&url)).is_err() {
            bench.assert_nothing_left();
        } else {
            let config = fs::read_to_string(workspace.join(".git/config")).unwrap();
            assert!(!config.contains("program"), "{what}: {config}");
            let request = CheckpointRequest {
                workspace: workspace.clone(),
                session: "s".to_owned(),
                name: "n".to_owned(),
                author: None,
            };
            // Taken or refused: nothing runs.
            drop(take_checkpoint(&request));
            fs::remove_dir_all(&workspace).unwrap();
        }
        canary.assert_untouched(what);
    }
    let names: Vec<_> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["origin", "workspaces", "canary"].contains(&name.as_str()))
        .collect();
    assert_eq!(names, [""; 0], "{what}");
}

#[test]
fn a_sources_own_configuration_filters_and_hooks_run_nothing() {
    let bench = Bench::new();
    let canary = Canary::new(&bench);
    set_traps(&bench, &canary);
    let with_submodules = CloneRequest {
        extent: Extent {
            submodules: Some(AllowList::default()),
            ..Extent::default()
        },
        ..bench.request("origin")
    };
    let error = run(&with_submodules).unwrap_err().to_string();
    assert!(error.contains("!touch x"), "{error}");
    let workspace = run(&bench.request("origin")).unwrap();
    fs::write(workspace.path.join("a.txt"), "changed").unwrap();
    let request = CheckpointRequest {
        workspace: workspace.path.clone(),
        session: "s".to_owned(),
        name: "n".to_owned(),
        author: None,
    };
    take_checkpoint(&request).unwrap().unwrap();
    canary.assert_untouched("configuration");
    let hooks = workspace.path.join(".git/hooks/post-checkout");
    assert!(!hooks.exists());
}

/// Whatever git could be told to run in `origin` is the canary's program.
fn set_traps(bench: &Bench, canary: &Canary) {
    let program = canary.program();
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "diff.external",
        "core.pager",
        "uploadpack.packObjectsHook",
        "remote.origin.uploadpack",
        "credential.helper",
        "core.editor",
        "merge.evil.driver",
    ] {
        bench.git("origin", &["config", key, &program]);
    }
    fs::write(
        bench.path("origin/.gitattributes"),
        "* filter=evil diff=evil merge=evil\n",
    )
    .unwrap();
    fs::write(
        bench.path("origin/.gitmodules"),
        "[submodule \"x\"]\npath = x\nurl = -uevil\nupdate = !touch x\n",
    )
    .unwrap();
    // With the filter it would run on the way in.
    let harmless = [
        "-c",
        "filter.evil.clean=cat",
        "-c",
        "filter.evil.process=",
        "-c",
        "core.fsmonitor=false",
    ];
    let git = |words: &[&str]| bench.git("origin", &[&harmless[..], words].concat());
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "evil"]);
    for hook in [
        "post-checkout",
        "post-commit",
        "reference-transaction",
        "post-index-change",
    ] {
        let path = bench.path("origin/.git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(bench.path("canary/program"), &path).unwrap();
    }
    fs::remove_file(bench.path("canary/program.ran")).ok();
}

#[test]
fn links_in_a_sources_own_git_folder_bring_nothing_along() {
    let bench = Bench::new();
    let secret = bench.path("secret");
    fs::write(&secret, "needle-in-a-secret").unwrap();
    let objects = bench.path("origin/.git/objects");
    fs::create_dir_all(objects.join("ab")).unwrap();
    let name = "c".repeat(38);
    symlink(&secret, objects.join("ab").join(&name)).unwrap();
    symlink(bench.path("."), objects.join("pack").join("away")).unwrap();
    symlink(&secret, bench.path("origin/.git/description2")).unwrap();
    if let Ok(workspace) = run(&bench.request("origin")) {
        let found = Command::new("grep")
            .args(["-rl", "needle-in-a-secret"]) // follows no link
            .arg(&workspace.path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
    }
}

#[test]
fn a_repository_that_grows_when_it_is_unpacked_is_refused_before_it_is() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    // 64 MiB of nothing take 64 KiB in a pack; the same file a hundred times takes no more.
    fs::write(bench.path("origin/bomb"), vec![0; 64 << 20]).unwrap();
    for copy in 0..100 {
        symlink("bomb", bench.path("origin").join(format!("link{copy}"))).unwrap();
    }
    bench.git("origin", &["add", "."]);
    bench.git("origin", &["commit", "-q", "-m", "bomb"]);
    let most = |most| CloneRequest {
        extent: Extent {
            most,
            ..Extent::default()
        },
        ..bench.request(&server.url("origin"))
    };
    for limit in [1 << 20, 1 << 10] {
        let error = run(&most(limit)).unwrap_err();
        assert!(matches!(error, CloneError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("git.max_size"), "{error}");
        bench.assert_nothing_left();
    }
    run(&most(65 << 20)).unwrap();
}

#[test]
fn a_server_that_lists_refs_without_end_is_left() {
    use std::io::Read as _;

    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/r", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _asked = stream.read(&mut [0; 4096]).unwrap();
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                    Content-Type: application/x-git-upload-pack-advertisement\r\n\r\n\
                    001e# service=git-upload-pack\n0000";
        stream.write_all(head.as_bytes()).unwrap();
        let name = "a".repeat(60_000);
        let mut sent = 0_u64;
        // Until nobody listens any more.
        for number in 0_u64.. {
            let line = format!("{number:040x} refs/heads/{number:020}{name}\n");
            let line = format!("{:04x}{line}", line.len() + 4);
            if stream.write_all(line.as_bytes()).is_err() {
                return sent;
            }
            sent += line.len() as u64;
        }
        sent
    });
    let error = run(&bench.request(&url)).unwrap_err().to_string();
    assert!(error.contains("lists more than 128 MiB of refs"), "{error}");
    let sent = serving.join().unwrap();
    assert!(sent < 160 << 20, "{sent}");
    bench.assert_nothing_left();
}

#[test]
fn a_clone_for_another_user_shares_no_file_with_its_source() {
    let bench = Bench::new();
    let shared = |folder: &Path| {
        let mut objects = Command::new("find");
        objects
            .arg(folder.join(".git/objects"))
            .args(["-type", "f", "-links", "+1"]);
        String::from_utf8(objects.output().unwrap().stdout).unwrap()
    };
    let own = bench.path("origin").metadata().unwrap();
    for owner in [Some((own.uid(), own.gid())), None] {
        let request = CloneRequest {
            extent: Extent {
                owner,
                ..Extent::default()
            },
            ..bench.request("origin")
        };
        let workspace = run(&request).unwrap();
        let same = workspace.path.metadata().unwrap().dev()
            == bench.path("origin").metadata().unwrap().dev();
        assert_eq!(
            shared(&workspace.path).is_empty(),
            owner.is_some() || !same,
            "{owner:?}"
        );
        fs::remove_dir_all(&workspace.path).unwrap();
    }
}

#[test]
fn a_clone_for_another_user_is_there_when_all_of_it_is_theirs() {
    const NOBODY: (u32, u32) = (65_534, 65_534);
    let bench = Bench::new();
    if bench.path("").metadata().unwrap().uid() != 0 {
        return; // only root gives anything away
    }
    let request = CloneRequest {
        extent: Extent {
            owner: Some(NOBODY),
            ..Extent::default()
        },
        ..bench.request("origin")
    };
    let left = |folder: &Path| {
        let mut ours = Command::new("find");
        ours.arg(folder).args(["!", "-user", "65534"]);
        String::from_utf8(ours.output().unwrap().stdout).unwrap()
    };
    for is_there in [false, true] {
        if is_there {
            // as a mount point is
            fs::create_dir(&request.into).unwrap();
        }
        let workspace = run(&request).unwrap();
        assert_eq!(left(&workspace.path), "", "{is_there}");
        // A crash has come before its folder was given.
        std::os::unix::fs::chown(&workspace.path, Some(0), Some(0)).unwrap();
        assert!(run(&request).unwrap().reused);
        assert_eq!(left(&workspace.path), "", "{is_there}");
        fs::remove_dir_all(&workspace.path).unwrap();
    }
}
