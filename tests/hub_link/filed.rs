//! The session file at a Hub that is lost again and again.

use std::collections::HashMap;

use agent_runner::hub::Credentials;
use agent_runner::hub::link::SessionFiles;
use agent_runner::hub::rest::RestClient;
use serde_json::Value;

use crate::hub::{Hub, Peer, Said};
use crate::source::{Source, turn};
use crate::{Dice, run, start};

/// What a Hub has of session files, by the rules of the protocol.
#[derive(Default)]
struct Files(HashMap<String, Vec<String>>);

impl Files {
    fn take(&mut self, frame: &Value) {
        let text = |name: &str| frame[name].as_str().unwrap().to_owned();
        match frame["type"].as_str() {
            Some("session_write") => {
                let lines = text("content").lines().map(str::to_owned).collect();
                self.0.insert(text("path"), lines);
            }
            Some("session_entry") => {
                let line = text("line");
                assert!(!line.contains('\n'));
                self.0.get_mut(&text("path")).unwrap().push(line);
            }
            _ => {}
        }
    }
}

/// Takes and acknowledges `life` frames.
async fn serve(peer: &mut Peer, files: &mut Files, life: u64) {
    for _ in 0..life {
        match peer.said().await {
            Said::Event(event) => peer.ack(&event.id).await,
            Said::Other(frame) => files.take(&frame),
            Said::Close(_) | Said::Gone => return,
        }
    }
}

#[test]
fn the_hub_has_the_whole_session_file_however_often_it_is_lost() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (hub, source) = (Hub::start().await, Source::new());
        let mut config = hub.config();
        let credentials = Credentials::new(None, None).unwrap();
        config.files = Some(SessionFiles {
            folder: dir.path().to_owned(),
            rest: RestClient::new(config.address.clone(), &credentials).unwrap(),
        });
        let mut last = None;
        for n in 0..12 {
            last = Some(source.add(n + 1, &turn(&format!("p{n}"))));
        }
        let (_handle, _inbound) = start(config, &source);
        let (mut dice, mut files) = (Dice(3), Files::default());
        let misbehave = async {
            loop {
                let mut peer = hub.join().await;
                let life = 1 + dice.roll(60);
                serve(&mut peer, &mut files, life).await;
            }
        };
        tokio::select! {
            () = source.stored(last.unwrap()) => {}
            () = misbehave => {}
        }
        assert_eq!(files.0.len(), 1, "one name");
        let (path, lines) = files.0.into_iter().next().unwrap();
        let own = std::fs::read_to_string(&path).unwrap();
        assert_eq!(own.lines().collect::<Vec<_>>(), lines);
        let count = |role: &str| {
            let role = format!("\"role\":\"{role}\"");
            lines.iter().filter(|line| line.contains(&role)).count()
        };
        assert_eq!(
            (count("user"), count("assistant"), count("toolResult")),
            (12, 24, 12)
        );
    });
}
