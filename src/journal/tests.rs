use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::event::{Envelope, Event, Outcome};
use crate::ids::{EventId, RunId, SpoolOffset, TurnId};

fn session() -> SessionId {
    "s1".parse().unwrap()
}

fn turn_id(n: u128) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(n))
}

fn token(ordinal: u64) -> NewEvent {
    let event = Event::Token {
        text: format!("t{ordinal}"),
        message_id: None,
        parent_call_id: None,
    };
    let id = EventId::derive(Uuid::from_u128(9), ordinal);
    NewEvent::encode(&event, id, Timestamp::from_millis(5), Some((turn_id(1), 1))).unwrap()
}

fn tokens(range: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::new(&session(), "claude");
    batch.events = range.map(token).collect();
    batch
}

fn seqs(batch: &StoredBatch) -> Vec<u64> {
    batch
        .lines()
        .map(|line| Envelope::parse(line).unwrap().header.seq.get())
        .collect()
}

async fn open_session(journal: &Journal) {
    let at = Timestamp::from_millis(1);
    let open = Change::OpenSession {
        workspace: "/w".to_owned(),
        at,
    };
    journal
        .commit(Batch::new(&session(), "claude").with(open))
        .await
        .unwrap();
}

fn queue(turn: TurnId, command_id: Option<&str>) -> Change {
    Change::QueueTurn {
        turn,
        command_id: command_id.map(str::to_owned),
        prompt: "do it".to_owned(),
        author: None,
        images: Vec::new(),
        is_task: false,
        at: Timestamp::from_millis(2),
    }
}

#[tokio::test]
async fn seq_counts_from_one_without_holes_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.commit(tokens(0..3)).await.unwrap(), Seq::new(3));
    assert_eq!(
        journal
            .commit(Batch::new(&session(), "claude"))
            .await
            .unwrap(),
        None
    );
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(read_all(&journal).await, [1, 2, 3]);
    assert_eq!(journal.commit(tokens(3..5)).await.unwrap(), Seq::new(5));
    assert_eq!(journal.commit(tokens(5..6)).await.unwrap(), Seq::new(6));
    drop(journal);
    // Three batches, none of them of this process.
    assert_eq!(
        read_all(&Journal::open(&path).unwrap()).await,
        [1, 2, 3, 4, 5, 6]
    );
}

async fn read_all(journal: &Journal) -> Vec<u64> {
    let mut tail = journal.tail(&session(), 0);
    let mut seen = Vec::new();
    while let Some(batch) = tail.try_next().await.unwrap() {
        seen.extend(seqs(&batch));
    }
    seen
}

#[tokio::test]
async fn a_tail_starts_in_the_middle_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    journal.commit(tokens(0..5)).await.unwrap();
    for after in 0..5_u64 {
        let mut tail = journal.tail(&session(), after);
        let batch = tail.next().await.unwrap();
        assert_eq!(seqs(&batch), (after + 1..=5).collect::<Vec<_>>());
        assert!(tail.try_next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_tail_that_memory_has_left_behind_reads_on_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    let mut tail = journal.tail(&session(), 0);
    for n in 0..40_u64 {
        let mut batch = tokens(n * 10..n * 10 + 10);
        if let Some(event) = batch.events.first_mut() {
            let text = "x".repeat(100_000);
            let event_json = Event::Token {
                text,
                message_id: None,
                parent_call_id: None,
            };
            event.json = serde_json::to_vec(&event_json).unwrap();
        }
        journal.commit(batch).await.unwrap();
    }
    let mut seen = Vec::new();
    while tail.position() < 400 {
        seen.extend(seqs(&tail.next().await.unwrap()));
    }
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tail_wakes_on_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    let mut tail = journal.tail(&session(), 0);
    assert!(tail.try_next().await.unwrap().is_none());
    let (batch, committed) = tokio::join!(tail.next(), journal.commit(tokens(0..2)));
    assert_eq!(committed.unwrap(), Seq::new(2));
    assert_eq!(seqs(&batch.unwrap()), [1, 2]);
}

#[tokio::test]
async fn a_prompt_with_a_known_command_id_is_queued_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    open_session(&journal).await;
    for n in 1..=2 {
        let batch = Batch::new(&session(), "claude").with(queue(turn_id(n), Some("c1")));
        journal.commit(batch).await.unwrap();
    }
    for n in 3..=4 {
        journal
            .commit(Batch::new(&session(), "claude").with(queue(turn_id(n), None)))
            .await
            .unwrap();
    }
    let turns = journal.turns(&session()).await.unwrap();
    let ids: Vec<_> = turns.iter().map(|turn| turn.id).collect();
    assert_eq!(ids, [turn_id(1), turn_id(3), turn_id(4)]);
    let accepted = async |n, command: Option<&str>| {
        let command = command.map(str::to_owned);
        let turn = journal.accepted_turn(&session(), turn_id(n), command).await;
        turn.unwrap().map(|turn| turn.id)
    };
    assert_eq!(accepted(2, Some("c1")).await, Some(turn_id(1)));
    assert_eq!(accepted(3, None).await, Some(turn_id(3)));
    assert_eq!(accepted(2, None).await, None);
}

#[tokio::test]
async fn the_newest_adapter_is_that_of_the_last_turn_which_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    open_session(&journal).await;
    let newest = async || journal.newest_adapter(&session()).await.unwrap();
    for n in 1..=3_u64 {
        let turn = turn_id(n.into());
        let mut batch = Batch::new(&session(), "claude").with(queue(turn, None));
        if n < 3 {
            batch = batch.with(Change::Progress {
                turn,
                offset: SpoolOffset::new(n),
                ordinal_next: n,
                adapter: vec![u8::try_from(n).unwrap()],
            });
        }
        assert_eq!(newest().await.is_none(), n == 1);
        journal.commit(batch).await.unwrap();
    }
    assert_eq!(newest().await, Some(vec![2]));
}

#[tokio::test]
async fn a_turn_keeps_its_place_its_first_event_and_its_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).unwrap();
    open_session(&journal).await;
    journal.commit(tokens(0..2)).await.unwrap();
    let (turn, run) = (turn_id(1), RunId::from_uuid(Uuid::from_u128(77)));
    let of_session = || Batch::new(&session(), "claude");
    let queued = of_session().with(queue(turn, None));
    journal.commit(queued).await.unwrap();
    let begin = Change::BeginAttempt {
        turn,
        attempt: 1,
        run,
        ordinal_next: 1,
    };
    journal.commit(tokens(2..3).with(begin)).await.unwrap();
    let taken_over = journal.turns(&session()).await.unwrap().pop().unwrap();
    let message = "whoever takes over at once does not number an event again";
    assert_eq!(taken_over.ordinal_next, 1, "{message}");
    let progress = Change::Progress {
        turn,
        offset: SpoolOffset::new(123),
        ordinal_next: 4,
        adapter: b"{}".to_vec(),
    };
    journal.commit(tokens(3..4).with(progress)).await.unwrap();
    let id = "native".to_owned();
    let told = of_session()
        .with(Change::AgentSession { id })
        .with(Change::Acked { seq: 4 })
        .with(Change::Acked { seq: 2 });
    journal.commit(told).await.unwrap();
    drop(journal);

    let journal = Journal::open(&path).unwrap();
    let row = journal.turns(&session()).await.unwrap().pop().unwrap();
    assert_eq!(
        (row.state, row.attempt, row.run),
        (TurnState::Running, 1, Some(run))
    );
    assert_eq!((row.offset, row.ordinal_next), (SpoolOffset::new(123), 4));
    assert_eq!(row.adapter.as_deref(), Some(&b"{}"[..]));
    let stored = journal.session(&session()).await.unwrap().unwrap();
    assert_eq!(stored.acked_seq, 4);
    assert_eq!(stored.agent_session_id.as_deref(), Some("native"));
    let start = |seq| journal.turn_start(&stored.id, Seq::new(seq).unwrap());
    assert_eq!(start(2).await.unwrap(), None);
    assert_eq!(start(4).await.unwrap(), Seq::new(3));

    for outcome in [Outcome::TimedOut, Outcome::Completed] {
        let end = Change::EndTurn {
            turn,
            outcome,
            at: Timestamp::from_millis(9),
        };
        journal.commit(tokens(4..5).with(end)).await.unwrap();
    }
    let row = journal.turns(&session()).await.unwrap().pop().unwrap();
    assert_eq!(
        (row.state, row.outcome),
        (TurnState::Ended, Some(Outcome::TimedOut))
    );
}

#[test]
fn the_journal_is_private_and_refuses_a_newer_version() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    drop(Journal::open(&path).unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let connection = Connection::open(&path).unwrap();
    let newer = "PRAGMA user_version = 99; UPDATE meta SET value = '99' WHERE key = 'version'";
    connection.execute_batch(newer).unwrap();
    drop(connection);
    let error = Journal::open(&path).unwrap_err().to_string();
    assert!(error.contains("version 99"), "{error}");
}

#[tokio::test]
async fn a_prompt_or_a_place_that_was_altered_is_never_acted_on() {
    for damage in [
        "UPDATE turn SET prompt = 'do more'",
        "UPDATE turn SET command_id = 'other'",
        "UPDATE turn SET spool_offset = spool_offset + 1",
        "UPDATE turn SET ordinal_next = ordinal_next + 1",
        "UPDATE session SET acked_seq = acked_seq + 1",
        "UPDATE session SET workspace = '/elsewhere'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let journal = Journal::open(&path).unwrap();
        open_session(&journal).await;
        let accepted = tokens(0..1).with(queue(turn_id(1), Some("c")));
        journal.commit(accepted).await.unwrap();
        journal.close().await;
        let connection = Connection::open(&path).unwrap();
        assert!(connection.execute(damage, []).unwrap() > 0, "{damage}");
        drop(connection);
        let journal = Journal::open(&path).unwrap();
        assert!(
            journal.turns(&session()).await.unwrap().is_empty(),
            "{damage}"
        );
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let aside = names
            .filter(|name| name.starts_with("journal.corrupt-"))
            .count();
        assert!(aside > 0, "{damage}: nothing was set aside");
    }
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("schema.sql")).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let turn = turn_id(7);
    old.execute_batch(&format!(
        "INSERT INTO session(id, agent, workspace, created_at, acked_seq)
           VALUES ('s1', 'claude', '/w', 5, 2);
         INSERT INTO turn(id, session_id, ordinal, prompt, state, adapter, created_at)
           VALUES ('{turn}', 's1', 1, 'do it', 'running', x'7b7d', 5);
         INSERT INTO event_batch VALUES ('s1', 1, 3, CAST('a' || char(10) AS BLOB))",
    ))
    .unwrap();
    drop(old);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.last_seq(&session()).await.unwrap(), 3);
    assert_eq!(
        journal
            .session(&session())
            .await
            .unwrap()
            .unwrap()
            .acked_seq,
        2
    );
    let turns = journal.turns(&session()).await.unwrap();
    assert_eq!(turns[0].adapter.as_deref(), Some(&b"{}"[..]));
    let batch = journal.tail(&session(), 0).next().await.unwrap();
    assert_eq!(&batch.body[..], b"a\n");
    journal.close().await;
    assert!(!Journal::open(&path).unwrap().is_empty().await.unwrap());
}

#[tokio::test]
async fn an_image_is_kept_with_its_accepted_prompt_until_its_turn_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let png = |last: u8| Image::new([b"\x89PNG\r\n\x1a\n", &[last][..]].concat()).unwrap();
    let with = |turn: TurnId, image: &Image| match queue(turn, Some("c1")) {
        Change::QueueTurn {
            turn,
            command_id,
            prompt,
            author,
            is_task,
            at,
            ..
        } => Change::QueueTurn {
            turn,
            command_id,
            prompt,
            author,
            images: vec![image.clone()],
            is_task,
            at,
        },
        other => other,
    };
    let (first, second) = (turn_id(1), turn_id(2));
    {
        let journal = Journal::open(&path).unwrap();
        open_session(&journal).await;
        for (turn, image) in [(first, png(1)), (second, png(2))] {
            let batch = Batch::new(&session(), "claude").with(with(turn, &image));
            journal.commit(batch).await.unwrap();
        }
        let steered = Change::TakePrompt {
            turn: first,
            images: vec![png(3)],
        };
        let batch = Batch::new(&session(), "claude").with(steered);
        journal.commit(batch).await.unwrap();
        journal.close().await;
    }
    let journal = Journal::open(&path).unwrap();
    let turns = journal.turns(&session()).await.unwrap();
    assert_eq!(turns[0].images, [png(1).note().clone()]);
    let kept = async |turn, image: &Image| journal.image(turn, image.note()).await.unwrap();
    assert_eq!(kept(first, &png(1)).await, Some(png(1)));
    assert_eq!(kept(first, &png(3)).await, Some(png(3)));
    // The same prompt again made no turn, and left nothing behind.
    assert_eq!(kept(second, &png(2)).await, None);
    let end = Change::EndTurn {
        turn: first,
        outcome: Outcome::Completed,
        at: Timestamp::from_millis(3),
    };
    let batch = Batch::new(&session(), "claude").with(end);
    journal.commit(batch).await.unwrap();
    assert_eq!(kept(first, &png(1)).await, None);
    assert_eq!(kept(first, &png(3)).await, None);
}

#[tokio::test]
async fn a_journal_is_empty_until_a_session_is_stored_and_closes_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).unwrap();
    assert!(journal.is_empty().await.unwrap());
    open_session(&journal).await;
    assert!(!journal.is_empty().await.unwrap());
    let other = journal.clone();
    let closing = journal.close();
    tokio::pin!(closing);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut closing).await;
    assert!(early.is_err(), "another handle is left");
    drop(other);
    closing.await;
    // The last connection takes the log of writes away.
    assert!(!dir.path().join("journal.db-wal").exists());
    let again = Journal::open(&path).unwrap();
    assert!(!again.is_empty().await.unwrap());
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_migrated_and_keeps_its_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("schema.sql")).unwrap();
    old.execute_batch(
        "PRAGMA user_version = 1;
         INSERT INTO session(id, agent, workspace, created_at) VALUES ('s1', 'claude', '/w', 1)",
    )
    .unwrap();
    drop(old);
    let journal = Journal::open(&path).unwrap();
    let row = journal.session(&session()).await.unwrap().unwrap();
    assert_eq!((row.workspace.as_str(), row.settings), ("/w", None));
}

#[tokio::test]
async fn a_session_keeps_its_settings_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let at = Timestamp::from_millis(7);
    {
        let journal = Journal::open(&path).unwrap();
        for text in ["{}", "{\"model\":\"m\"}"] {
            let settings = text.to_owned();
            let create = Change::CreateSession { settings, at };
            let batch = Batch::new(&session(), "claude").with(create);
            journal.commit(batch).await.unwrap();
        }
        open_session(&journal).await;
        journal.close().await;
    }
    let journal = Journal::open(&path).unwrap();
    let rows = journal.sessions().await.unwrap();
    let [row] = rows.as_slice() else {
        panic!("one session, not {rows:?}");
    };
    assert_eq!(row.settings.as_deref(), Some("{\"model\":\"m\"}"));
    assert_eq!((row.workspace.as_str(), row.created_at), ("/w", at));
    assert_eq!(row.closed_at, None);
    for at in [8, 9].map(Timestamp::from_millis) {
        let close = Batch::new(&session(), "claude").with(Change::CloseSession { at });
        journal.commit(close).await.unwrap();
    }
    let row = journal.session(&session()).await.unwrap().unwrap();
    assert_eq!(row.closed_at, Some(Timestamp::from_millis(8)));
}

#[tokio::test]
async fn a_session_that_is_forgotten_leaves_nothing_and_hurts_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let other: SessionId = "s2".parse().unwrap();
    {
        let journal = Journal::open(&path).unwrap();
        open_session(&journal).await;
        for session in [&session(), &other] {
            let mut batch = Batch::new(session, "claude");
            batch.events.push(token(0));
            journal.commit(batch).await.unwrap();
        }
        let forget = Batch::new(&session(), "claude").with(Change::ForgetSession);
        journal.commit(forget).await.unwrap();
        assert_eq!(journal.last_seq(&session()).await.unwrap(), 0);
        journal.close().await;
    }
    let journal = Journal::open(&path).unwrap();
    assert!(journal.session(&session()).await.unwrap().is_none());
    assert_eq!(journal.last_seq(&session()).await.unwrap(), 0);
    assert_eq!(journal.last_seq(&other).await.unwrap(), 1);
}

#[tokio::test]
async fn a_journal_that_was_removed_or_replaced_takes_nothing_more() {
    for replaced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let path = state.join("journal.db");
        let journal = Journal::open(&path).unwrap();
        open_session(&journal).await;
        std::fs::rename(&state, dir.path().join("moved")).unwrap();
        let other = replaced.then(|| {
            std::fs::create_dir(&state).unwrap();
            Journal::open(&path).unwrap()
        });
        let error = journal.commit(tokens(0..1)).await.unwrap_err();
        assert!(matches!(error, JournalError::Removed { .. }), "{error}");
        let error = journal.commit(tokens(1..2)).await.unwrap_err();
        assert!(matches!(error, JournalError::Poisoned), "{error}");
        if let Some(other) = other {
            assert!(other.sessions().await.unwrap().is_empty());
            open_session(&other).await;
        }
    }
}
