//! Where a session works: its workspace with its repositories, prepared, and what the agent's git and
//! its turns are told of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agents_git::{self, AgentsGit};
use super::issued::Issued;
use super::made::{Made, MadeRepository};
use super::{repositories, setup_script, skills};
use crate::config::{ExpectedReport, Push};
use crate::daemon::agent::launch::{
    agent_home, environment, keys_in, setup_environment, turn_spec,
};
use crate::daemon::agent::{reach, sandbox};
use crate::daemon::{DaemonError, Lead, Setup, workspace};
use crate::event::NoticeLevel;
use crate::hub::rest::SessionDetail;
use crate::redact::Redactor;
use crate::sandbox::Sandbox;
use crate::turn::CHECKPOINT_FAILED;
use crate::turn::report::Expected;
use crate::workspace::{CheckpointRequest, Credentials, START, checkpoint_apart, lfs_size_apart};

/// Where a session works, made and prepared.
#[derive(Debug)]
pub(in crate::daemon) struct Ground {
    pub(in crate::daemon) workspace: PathBuf,
    pub(in crate::daemon) made: Made,
    pub(in crate::daemon) credentials: Credentials,
    /// Masks the session's secrets, its tokens from the moment at which they are issued.
    pub(in crate::daemon) redactor: Arc<Redactor>,
}

impl Ground {
    /// The reports of the settings, and those that the Hub expects.
    pub(in crate::daemon) fn expected(
        &self,
        setup: &Setup<'_>,
    ) -> Result<Vec<Expected>, DaemonError> {
        let sent = self.made.expected.iter().map(|path| ExpectedReport {
            path: path.clone(),
            schema: None,
        });
        let typed = setup.config.expected.iter().cloned();
        let all: Vec<ExpectedReport> = typed.collect();
        let sent = sent.filter(|sent| all.iter().all(|report| report.path != sent.path));
        let all: Vec<_> = all.iter().cloned().chain(sent).collect();
        let read = all.iter().map(Expected::read);
        read.collect::<Result<_, _>>().map_err(DaemonError::Usage)
    }

    /// The folders that may be repositories: those that were cloned, else the workspace.
    pub(in crate::daemon) fn repositories(&self) -> Vec<PathBuf> {
        let made = self.made.repositories.iter();
        match made.len() {
            0 => vec![self.workspace.clone()],
            _ => made.map(|repository| repository.path.clone()).collect(),
        }
    }
}

impl Lead {
    /// The workspace with its repositories, prepared.
    pub(in crate::daemon) async fn ground(
        &self,
        setup: &Setup<'_>,
        detail: Option<&SessionDetail>,
        program: &Path,
        log: &workspace::SetupLog,
        owner: Option<(u32, u32)>,
    ) -> Result<Ground, DaemonError> {
        let state_dir = &setup.config.state_dir;
        let skills = skills::wanted(setup, detail)?;
        let mut wanted = repositories::wanted(setup, &self.hub.rest, detail)?;
        let redactor = self.mask(setup, &mut wanted.credentials).await?;
        let mut made = Made::read(state_dir, &self.session)?;
        self.look_for_workspace(&mut made, state_dir, log).await?;
        let place = workspace::make(setup, wanted, log, owner).await;
        let place = place.map_err(|error| masked(error, &redactor))?;
        let agent = self.chosen.kind.name;
        let placed = &mut made.skills;
        let changes = skills::put(agent, &place.path, &skills, detail.is_none(), placed, owner)?;
        if !made.skills.is_empty() {
            // Whatever becomes of the rest: these are ours.
            made.keep(state_dir, &self.session)?;
        }
        for text in changes.words() {
            log.setup("skills", "stdout", text).await?;
        }
        made.found(place.repositories);
        made.token_host = place.credentials.host_of_session().map(str::to_owned);
        if let Some(detail) = detail {
            made.expected = sent_reports(detail)?;
        }
        let mut ground = Ground {
            workspace: place.path,
            credentials: place.credentials,
            redactor,
            made,
        };
        self.agents_git(setup, &ground).make_folder()?;
        let home = agent_home(setup, &self.chosen.runs_as);
        let sandbox = sandbox::sandbox(setup, &self.session, &ground.workspace, &home)?;
        sandbox::prepare(setup.command, &sandbox, program, log).await?;
        let sent = detail.and_then(|detail| detail.rest.get("setupScript")?.as_str());
        let script = setup_script::text(setup, sent)?;
        self.prepare_once(setup, script, &mut ground, &sandbox, log)
            .await?;
        if ground.made != Made::default() {
            ground.made.keep(state_dir, &self.session)?;
        }
        Ok(ground)
    }

    /// Where the workspace of an earlier daemon is gone, says so and knows nothing of it any more.
    async fn look_for_workspace(
        &self,
        made: &mut Made,
        state_dir: &Path,
        log: &workspace::SetupLog,
    ) -> Result<(), DaemonError> {
        let Some(gone) = self.gone_workspace().await? else {
            return Ok(());
        };
        let text = format!(
            "the workspace {} is gone, with all in it that was not pushed; it is made anew",
            gone.display()
        );
        log.notice(NoticeLevel::Warning, "workspace_lost", text)
            .await?;
        // Before it is there again: whoever finds it would take it for prepared.
        made.lost();
        made.keep(state_dir, &self.session)
    }

    /// What a workspace is prepared with once: the contents of LFS, and the user's script.
    async fn prepare_once(
        &self,
        setup: &Setup<'_>,
        script: Option<String>,
        ground: &mut Ground,
        sandbox: &Sandbox,
        log: &workspace::SetupLog,
    ) -> Result<(), DaemonError> {
        let has_clones = !ground.made.repositories.is_empty();
        if setup.config.git.lfs && has_clones && !ground.made.lfs_done {
            Box::pin(bound_lfs(setup, &ground.made.repositories)).await?;
            let text = lfs_script(&ground.made.repositories);
            self.prepare(setup, "lfs", text, ground, sandbox, log)
                .await?;
            ground.made.lfs_done = true;
        }
        if let Some(text) = script.filter(|_| !ground.made.setup_done) {
            self.prepare(setup, "setup", text, ground, sandbox, log)
                .await?;
            ground.made.setup_done = true;
        }
        Ok(())
    }

    /// The workspace that an earlier daemon worked in, where somebody has removed it since.
    async fn gone_workspace(&self) -> Result<Option<PathBuf>, DaemonError> {
        let row = self.state.journal().session(&self.session).await?;
        let folder = row.map(|row| row.workspace);
        let folder = folder
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from);
        Ok(folder.filter(|folder| !folder.exists()))
    }

    /// Runs a script that prepares the workspace; LFS with tokens for its repositories.
    async fn prepare(
        &self,
        setup: &Setup<'_>,
        step: &'static str,
        text: String,
        ground: &Ground,
        sandbox: &Sandbox,
        log: &workspace::SetupLog,
    ) -> Result<(), DaemonError> {
        let mut environment = setup_environment(setup, &self.chosen.runs_as)?;
        let hands = step == "lfs" || setup.config.git.push == Some(Push::Agent);
        let credentials = Some(&ground.credentials).filter(|_| hands);
        let git = self.agents_git(setup, ground);
        let handing = git.tell(&mut environment, credentials)?;
        let home = agent_home(setup, &self.chosen.runs_as);
        let places = (ground.workspace.as_path(), home.as_path());
        let script = setup_script::Script {
            step,
            reach: reach::reach(setup, Path::new(setup_script::SHELL), places, &git.folder),
            text,
            sandbox,
            workspace: &ground.workspace,
            user: self.chosen.other_user(),
            environment,
            redactor: &ground.redactor,
        };
        let serving = async {
            match handing {
                Some(handing) => handing.serve().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = setup_script::run(setup, &script, log) => done,
            () = serving => Ok(()), // it serves until it is dropped
        }
    }

    /// Masks everything that is secret of the session, what earlier daemons were given for it as
    /// well; what `credentials` gives later is added then.
    pub(in crate::daemon) async fn mask(
        &self,
        setup: &Setup<'_>,
        credentials: &mut Credentials,
    ) -> Result<Arc<Redactor>, DaemonError> {
        let environment = environment(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let spec = turn_spec(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let hub = &self.hub.credentials;
        let issued = Issued::open(&setup.config.state_dir, &self.session, hub);
        let mut secrets = issued.tokens();
        if let Some(known) = credentials.known().await {
            issued.keep(&known);
            secrets.push(known);
        }
        secrets.extend(hub.key());
        secrets.extend(keys_in(&environment, &spec));
        let redactor = self.hub.masks.of(secrets)?;
        let given = std::mem::take(credentials).masked_by(Arc::clone(&redactor));
        *credentials = given.kept_by(move |token| issued.keep(token));
        Ok(redactor)
    }

    /// The checkpoint before the first turn; once there are turns, those have their own.
    pub(in crate::daemon) async fn checkpoint_start(
        &self,
        ground: &Ground,
        log: &workspace::SetupLog,
    ) -> Result<(), DaemonError> {
        let turns = self.state.journal().turns(&self.session).await?;
        if turns.iter().any(|turn| turn.attempt > 0) {
            return Ok(());
        }
        for repository in ground.repositories() {
            let request = CheckpointRequest {
                workspace: repository,
                session: self.session.to_string(),
                name: START.to_owned(),
                author: None,
            };
            // The agent has not been there yet.
            if let Err(error) = checkpoint_apart(&request, false).await {
                let text = error.to_string();
                log.notice(NoticeLevel::Warning, CHECKPOINT_FAILED, text)
                    .await?;
            }
        }
        Ok(())
    }

    /// What the agent's git works with.
    pub(in crate::daemon) fn agents_git<'a>(
        &self,
        setup: &'a Setup<'a>,
        ground: &Ground,
    ) -> AgentsGit<'a> {
        let made = ground.made.repositories.iter();
        AgentsGit {
            folder: agents_git::folder(&setup.config.state_dir, &self.session),
            user: self.chosen.other_user(),
            urls: made.filter_map(MadeRepository::address).collect(),
            setup,
        }
    }
}

/// A server's words may repeat what it was sent.
fn masked(error: DaemonError, redactor: &Redactor) -> DaemonError {
    match error {
        DaemonError::Workspace(text) => {
            let text = redactor.text(text.as_bytes());
            DaemonError::Workspace(String::from_utf8_lossy(&text).into_owned())
        }
        other => other,
    }
}

/// Refuses what would take more room than a repository may. git-lfs fetches whatever its pointers say.
async fn bound_lfs(setup: &Setup<'_>, repositories: &[MadeRepository]) -> Result<(), DaemonError> {
    let most = setup.config.git.max_size;
    for repository in repositories {
        let size = lfs_size_apart(&repository.path).await;
        let size = size.map_err(|error| DaemonError::Workspace(error.to_string()))?;
        if size > most {
            return Err(DaemonError::Workspace(format!(
                "the files of Git LFS of {} take {} MiB, more than {} MiB; where that is meant, \
                 raise git.max_size, or leave git.lfs out",
                repository.url,
                size >> 20,
                most >> 20
            )));
        }
    }
    Ok(())
}

/// Fetches what Git LFS keeps elsewhere, from each repository's own server: another one that its
/// `.lfsconfig` names was checked by nobody.
fn lfs_script(repositories: &[MadeRepository]) -> String {
    let mut text = String::from(
        "set -e\nexport GIT_TERMINAL_PROMPT=0\ngit lfs version >/dev/null 2>&1 || {\n\
         echo 'git.lfs needs git-lfs on the PATH of the agent: install it' >&2\nexit 1\n}\n",
    );
    let quoted = |text: &str| agents_git::quoted(Path::new(text));
    for repository in repositories {
        let Some(url) = repository.address() else {
            continue;
        };
        let (own, server) = (quoted(&url.lfs_endpoint()), quoted(&url.lfs_server()));
        let folder = agents_git::quoted(&repository.path);
        text.push_str(&lfs_pull(&folder, &own, &server));
    }
    text
}

/// For one repository; all words are quoted.
fn lfs_pull(folder: &str, own: &str, server: &str) -> String {
    format!(
        "cd {folder}\ngit lfs install --local --skip-repo\nurl={own}\n\
         named=$(git config --blob HEAD:.lfsconfig --get lfs.url 2>/dev/null || :)\n\
         case $named in\n'') ;;\n{server}*) url=$named ;;\n\
         *) echo \"$named is not asked for the files of Git LFS, although .lfsconfig names it: it is \
         not the repository's own server\" >&2 ;;\nesac\n\
         git -c \"lfs.url=$url\" lfs pull\n"
    )
}

/// The report that the Hub expects of each turn of the session.
fn sent_reports(detail: &SessionDetail) -> Result<Vec<PathBuf>, DaemonError> {
    let metadata = detail.rest.get("metadata");
    let path = metadata.and_then(|metadata| metadata.get("expectedReportPath")?.as_str());
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let place = ExpectedReport::place(path).map_err(|why| {
        DaemonError::Workspace(format!("the session's metadata.expectedReportPath: {why}"))
    })?;
    Ok(vec![place])
}
