//! Before the first run: the image is there, and it can run what it has to.

use std::path::Path;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::DockerSandbox;
use super::engine::{EngineError, is_missing, refused, words};
use super::launch::{START_LIMIT, Until, create, talk, within};

/// Between two pieces of an image the network may stand still so long.
const PULL_PATIENCE: Duration = Duration::from_mins(5);

/// Why no run can be started in a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such image.
    #[error(
        "the image {image} is not on this machine and cannot be pulled: {reason}. Pull it yourself \
         (docker pull), build it (scripts/build-images), or name another by --sandbox-image"
    )]
    NoImage {
        /// Its name.
        image: String,
        /// Why not.
        reason: String,
    },
    /// It is made for something else.
    #[error("the image {image} cannot be used: {reason}")]
    Unfit {
        /// Its name.
        image: String,
        /// Why not, and what to do.
        reason: String,
    },
}

impl DockerSandbox {
    /// Pulls the image where it is missing, and tries it: our program runs in it, and it has
    /// `program`. Each step is told to `progress`; a step that nobody takes is dropped.
    pub async fn prepare(
        &self,
        program: &Path,
        progress: &mpsc::Sender<String>,
    ) -> Result<(), PrepareError> {
        // A full queue only means that this step is not told.
        let tell = |text: String| drop(progress.try_send(text));
        let image = &self.policy.image;
        let client = self.engine.client().await?;
        let found = client.inspect_image(image).await;
        let found = match found {
            Err(error) if is_missing(&error) => {
                tell(format!("pulling {image}"));
                self.pull(&tell).await?;
                client.inspect_image(image).await
            }
            found => found,
        };
        let found = found.map_err(refused("look at the image"))?;
        self.fits(found.os.as_deref(), found.architecture.as_deref())?;
        let missing = Box::pin(self.engine.missing_limits()).await?;
        if !missing.is_empty() {
            tell(format!(
                "the container engine sets no limit of {} on this machine (without root it takes \
                 control groups of version 2)",
                missing.join(", ")
            ));
        }
        let path = self.probe(program).await?;
        tell(format!("{image} has {path}"));
        Ok(())
    }

    async fn pull(&self, tell: &impl Fn(String)) -> Result<(), PrepareError> {
        let image = &self.policy.image;
        let failed = |reason: String| PrepareError::NoImage {
            image: image.clone(),
            reason,
        };
        // Without a tag the engine would pull every one that there is.
        let (_, last) = image.rsplit_once('/').unwrap_or(("", image));
        let which = CreateImageOptionsBuilder::new().from_image(image);
        let which = if last.contains([':', '@']) {
            which
        } else {
            which.tag("latest")
        };
        let client = self.engine.client().await?;
        let mut steps = client.create_image(Some(which.build()), None, None);
        loop {
            let step = tokio::time::timeout(PULL_PATIENCE, steps.next()).await;
            match step {
                Err(_) => return Err(failed(format!("nothing came for {PULL_PATIENCE:?}"))),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(failed(words(&error))),
                Ok(Some(Ok(step))) => tell(describe(image, &step)),
            }
        }
    }

    fn fits(&self, os: Option<&str>, architecture: Option<&str>) -> Result<(), PrepareError> {
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits =
            |is: Option<&str>, wanted: &str| is.is_none_or(|is| is.is_empty() || is == wanted);
        if fits(os, "linux") && fits(architecture, own) {
            return Ok(());
        }
        let kind = format!("{}/{}", os.unwrap_or("?"), architecture.unwrap_or("?"));
        Err(self.unfit(format!(
            "it is made for {kind}, agent-runner for linux/{own}"
        )))
    }

    /// Runs our program in the image, and has it look for `program`; where that is.
    async fn probe(&self, program: &Path) -> Result<String, PrepareError> {
        let client = self.engine.client().await?;
        let name = format!("agent-runner-probe-{}", uuid::Uuid::new_v4().simple());
        let body = self.policy.of_probe(&name, program);
        Box::pin(create(self, &name, body, self.policy.owner)).await?;
        let talk = talk(client, &name, None, Until::End);
        let heard = within(START_LIMIT, "try the image", talk).await;
        self.engine.remove(&name).await;
        let heard = match heard {
            Ok(heard) => heard,
            Err(error) => {
                let said = match &error {
                    EngineError::Refused { source, .. } => words(source),
                    _ => String::new(),
                };
                // Whatever else it is, it is not the image's fault.
                let unfit = meaning(&said).map(|means| self.unfit(format!("{means} ({said})")));
                return Err(unfit.unwrap_or_else(|| error.into()));
            }
        };
        let path = heard.stdout.trim();
        if path.is_empty() {
            let said = heard.stderr.trim();
            let means = meaning(said).unwrap_or("agent-runner does not run in it");
            return Err(self.unfit(format!("{means} ({said})")));
        }
        Ok(path.to_owned())
    }

    fn unfit(&self, reason: String) -> PrepareError {
        PrepareError::Unfit {
            image: self.policy.image.clone(),
            reason,
        }
    }
}

/// What a program's failure to run means, where the image is to blame: kernel and loader say it in
/// their own words.
fn meaning(said: &str) -> Option<&'static str> {
    if said.contains("GLIBC_") {
        Some("its glibc is older than the one that agent-runner was built with")
    } else if said.contains("exec format error") || said.contains("Exec format error") {
        Some("it is made for another processor")
    } else if said.contains("no such file or directory") || said.contains("not found") {
        Some(
            "it has no glibc (musl images as Alpine have none), or not the program; take one with \
             glibc as Debian, Ubuntu or Fedora",
        )
    } else if said.contains("on the PATH") {
        Some("install the agent's CLI in it, or take one of scripts/build-images")
    } else {
        None
    }
}

fn describe(image: &str, step: &CreateImageInfo) -> String {
    let status = step.status.as_deref().unwrap_or("…");
    let of = |bytes: i64| bytes >> 20;
    let detail = step.progress_detail.as_ref();
    let done = detail.and_then(|detail| Some((detail.current?, detail.total?)));
    let layer = step.id.as_deref().unwrap_or_default();
    match done {
        Some((current, total)) if total > 0 => format!(
            "pulling {image}: {layer} {status} {} of {} MiB",
            of(current),
            of(total)
        ),
        _ => format!("pulling {image}: {layer} {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_says_is_told_with_its_meaning() {
        let meaning = |said: &str| meaning(said).unwrap_or_default();
        assert!(meaning("x: version `GLIBC_2.38' not found").contains("older"));
        assert!(meaning("exec /.agent-runner: exec format error").contains("processor"));
        assert!(meaning("exec: no such file or directory").contains("no glibc"));
        assert!(meaning("there is no `claude` on the PATH /bin").contains("install"));
        assert!(meaning("failed to create default sandbox").is_empty());
    }
}
