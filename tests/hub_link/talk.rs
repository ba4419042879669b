//! Commands and their answers, what the Hub says of events, and the farewell.

use std::time::Duration;

use agent_runner::hub::link::{News, NoAnswer, ToolAnswer, ToolCall};
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

/// A command as the Hub hands it on.
fn rpc(command: Value) -> Value {
    let mut frame = json!({"type": "rpc_command"});
    frame["command"] = command;
    frame
}

#[test]
fn commands_reach_the_driver_and_its_answers_the_hub() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, mut inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let prompt = json!({"type": "prompt", "message": "go", "id": "q1"});
        peer.send(&rpc(prompt)).await;
        let got = inbound.recv().await.unwrap();
        let said = agent_runner::hub::Said {
            text: "go".to_owned(),
            author: None,
            images: Vec::new(),
        };
        assert_eq!(got.command, Command::Prompt(said));
        handle.respond(got.reply, Ok(None));
        assert_eq!(
            response(&mut peer).await,
            json!({"type": "response", "id": "q1", "command": "prompt", "success": true})
        );
        peer.send(&rpc(json!({"type": "get_state", "id": 2}))).await;
        let got = inbound.recv().await.unwrap();
        handle.respond(got.reply, Ok(Some(json!({"isStreaming": false}))));
        let answer = response(&mut peer).await;
        assert_eq!(answer["data"], json!({"isStreaming": false}));
        // Ids are the asker's own, whatever is in them.
        let strange = "a\u{0}\n\u{1b}[2J\"\u{2028}";
        let question = json!({"type": "get_state", "id": strange});
        peer.send(&rpc(question)).await;
        let got = inbound.recv().await.unwrap();
        handle.respond(got.reply, Ok(None));
        assert_eq!(response(&mut peer).await["id"], strange);
        peer.send(&json!({"id": strange, "actions": [{"action": "ACK"}]}))
            .await;
        let empty = json!({"type": "prompt", "message": "", "id": "x"});
        peer.send(&rpc(empty)).await;
        let answer = response(&mut peer).await;
        assert_eq!(answer["success"], false);
        assert_eq!(answer["id"], "x");
        assert!(answer["error"].is_string());
        // Nobody takes commands: the link answers for the driver and stays alive.
        for n in 0..70 {
            let prompt = json!({"type": "prompt", "message": "go", "id": n});
            peer.send(&rpc(prompt)).await;
        }
        let busy = response(&mut peer).await;
        let why = busy["error"].as_str().unwrap();
        assert!(why.starts_with("busy"), "{busy}");
    });
}

#[test]
fn what_the_hub_puts_into_the_session_reaches_the_driver() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
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
                handle.carried_out(frame);
            }
            other => panic!("{other:?}"),
        }
        peer.send(&json!({"type": "rpc_ui_response", "id": "u1", "result": true}))
            .await;
        let answer = news.recv().await.unwrap();
        assert!(matches!(answer, News::UiResponse { id, result } if id == "u1" && result == true));
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

#[test]
fn an_event_counts_as_delivered_when_what_its_answer_asks_for_is_done() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let mut config = hub.config();
        config.timing.ack = Duration::from_millis(50);
        let (handle, _inbound) = start(config.clone(), &source);
        let mut news = handle.news().unwrap();
        let notify = json!([{"action": "NOTIFY", "message": "m"}]);
        let mut peer = hub.join().await;
        let mut told = String::new();
        let seen = whole_turn(&mut peer).await;
        for event in &seen {
            if event.name == "agent_start" {
                told.clone_from(&event.id);
                peer.send(&json!({"id": event.id, "actions": notify})).await;
            } else {
                peer.ack(&event.id).await;
            }
        }
        let frame = loop {
            let said = news.recv().await.unwrap();
            if let News::Answered { frame, actions, .. } = said
                && !actions.is_plain()
            {
                break frame;
            }
        };
        assert_eq!(frame, told);
        // Nobody has done it: it is asked for again, also by the next daemon.
        drop(peer);
        let mut peer = hub.join().await;
        let again = peer.events_until("agent_start").await;
        assert_eq!(again.last().unwrap().id, told);
        handle.close(None).await;
        assert_eq!(source.stored_now(), None);
        let (handle, _inbound) = start(config, &source);
        let mut news = handle.news().unwrap();
        let mut peer = hub.join().await;
        for event in whole_turn(&mut peer).await {
            let ack = json!([{"action": "ACK"}]);
            let actions = if event.id == told { &notify } else { &ack };
            peer.send(&json!({"id": event.id, "actions": actions}))
                .await;
        }
        let carry_out = async {
            while let Some(said) = news.recv().await {
                if let News::Answered { frame, .. } = said {
                    handle.carried_out(frame);
                }
            }
        };
        let serve = async {
            let mut seen = Vec::new();
            peer.serve(&mut seen).await
        };
        tokio::select! {
            () = source.stored(last) => {}
            () = carry_out => panic!("the link left"),
            end = serve => panic!("{end:?}"),
        }
    });
}

#[test]
fn a_tool_of_the_hub_is_run_once_and_a_lost_call_is_told() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        let call = |id: &str| ToolCall {
            id: id.to_owned(),
            name: "memory_recall".to_owned(),
            told_as: Some("toolu_1".to_owned()),
            params: json!({"query": "herons"}),
        };
        let limit = Duration::from_secs(20);
        let away = handle.call_tool(call("t0"), limit).await;
        assert_eq!(away, Err(NoAnswer::Away));
        let mut peer = hub.join().await;
        let mut status = handle.status();
        status.wait_for(|s| s.phase == Phase::Live).await.unwrap();
        let serve = async {
            let frame = loop {
                match peer.said().await {
                    Said::Other(frame) if frame["type"] == "tool" => break frame,
                    Said::Event(event) => peer.ack(&event.id).await,
                    _ => {}
                }
            };
            assert_eq!(
                frame,
                json!({"id": "t1", "type": "tool", "name": "memory_recall",
                    "toolCallId": "toolu_1", "params": {"query": "herons"}})
            );
            let actions = json!([{"action": "RETURN", "result": {"found": 2}}]);
            peer.send(&json!({"id": "t1", "actions": actions})).await;
        };
        let (answer, ()) = tokio::join!(handle.call_tool(call("t1"), limit), serve);
        assert_eq!(answer, Ok(ToolAnswer::Done(Some(json!({"found": 2})))));
        let lose = async {
            while !matches!(peer.said().await, Said::Other(frame) if frame["id"] == "t2") {}
            drop(peer);
        };
        let (answer, ()) = tokio::join!(handle.call_tool(call("t2"), limit), lose);
        assert_eq!(answer, Err(NoAnswer::Lost));
        let mut peer = hub.join().await;
        status.wait_for(|s| s.phase == Phase::Live).await.unwrap();
        let late = async {
            while !matches!(peer.said().await, Said::Other(frame) if frame["type"] == "tool") {}
        };
        let wait = Duration::from_millis(100);
        let (answer, ()) = tokio::join!(handle.call_tool(call("t3"), wait), late);
        assert_eq!(answer, Err(NoAnswer::Late(wait)));
    });
}
