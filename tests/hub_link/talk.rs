//! Commands and their answers, what the Hub says of events, and the farewell.

use std::time::Duration;

use agent_runner::hub::link::News;
use agent_runner::hub::{Command, Phase};
use serde_json::{Value, json};

use crate::hub::{Hub, Peer, Said};
use crate::source::{Source, turn};
use crate::{run, start, whole_turn};

async fn response(peer: &mut Peer) -> Value {
    loop {
        if let Said::Other(frame) = peer.said().await
            && frame["type"] == "rpc_response"
        {
            return frame["response"].clone();
        }
    }
}

#[test]
fn commands_reach_the_driver_and_its_answers_the_hub() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, mut inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let command = |command: Value| json!({"type": "rpc_command", "command": command});
        peer.send(&command(
            json!({"type": "prompt", "message": "go", "id": "q1"}),
        ))
        .await;
        let got = inbound.recv().await.unwrap();
        assert_eq!(got.command, Command::Prompt("go".into()));
        handle.respond(got.reply, Ok(None));
        assert_eq!(
            response(&mut peer).await,
            json!({"type": "response", "id": "q1", "command": "prompt", "success": true})
        );
        peer.send(&command(json!({"type": "get_state", "id": 2})))
            .await;
        let got = inbound.recv().await.unwrap();
        handle.respond(got.reply, Ok(Some(json!({"isStreaming": false}))));
        assert_eq!(
            response(&mut peer).await["data"],
            json!({"isStreaming": false})
        );
        for refused in [
            json!({"type": "from_the_future", "id": "x"}),
            json!({"type": "prompt", "message": "", "id": "x"}),
        ] {
            peer.send(&command(refused)).await;
            let answer = response(&mut peer).await;
            assert_eq!(
                (&answer["success"], &answer["id"]),
                (&json!(false), &json!("x"))
            );
            assert!(answer["error"].is_string());
        }
        // What the Hub itself puts into the session is a prompt, too, and wants no answer.
        source.add(1, &turn("p"));
        let mut news = handle.news().unwrap();
        let event = peer.event().await;
        let message = json!({"role": "user", "content": "and then?"});
        let inject = json!({"action": "INJECT_MESSAGE", "message": message});
        peer.send(&json!({"id": event.id, "actions": [inject]}))
            .await;
        match news.recv().await.unwrap() {
            News::Answered { frame, actions, .. } => {
                assert_eq!(frame, event.id);
                assert_eq!(actions.injected, ["and then?"]);
            }
            other => panic!("{other:?}"),
        }
        peer.send(&json!({"type": "rpc_ui_response", "id": "u1", "result": true}))
            .await;
        let answer = news.recv().await.unwrap();
        assert!(matches!(answer, News::UiResponse { id, result } if id == "u1" && result == true));
        // Nobody takes commands: the link answers for the driver and stays alive.
        for n in 0..70 {
            peer.send(&command(
                json!({"type": "prompt", "message": "go", "id": n}),
            ))
            .await;
        }
        let busy = response(&mut peer).await;
        assert!(
            busy["error"].as_str().unwrap().starts_with("busy"),
            "{busy}"
        );
    });
}

#[test]
fn an_orderly_end_waits_for_the_hub_but_not_for_ever() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let mut config = hub.config();
        config.timing.flush = Duration::from_millis(100);
        config.timing.ack = Duration::from_mins(1);
        let (handle, _inbound) = start(config, &source);
        let mut peer = hub.join().await;
        whole_turn(&mut peer).await;
        let close = handle.close(Some(last));
        let deaf = async {
            let farewell = peer.event().await;
            assert_eq!(farewell.name, "session_shutdown");
            assert_eq!(farewell.data["reason"], "quit");
            peer.said().await
        };
        let ((), end) = tokio::join!(close, deaf);
        assert!(matches!(end, Said::Close(1000)), "{end:?}");
        assert_eq!(source.stored_now(), None);
    });
}

#[test]
fn a_link_that_waits_for_its_hub_can_be_closed() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        drop(hub.join().await);
        drop(hub);
        let mut status = handle.status();
        status
            .wait_for(|s| s.phase == Phase::Backoff)
            .await
            .unwrap();
        handle.close(None).await;
        assert_eq!(status.borrow().phase, Phase::Closed);
    });
}
