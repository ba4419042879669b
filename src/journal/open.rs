//! Opening a journal in whatever state it was left, and making it one that can be written to.
//!
//! ```text
//!   open ─► bring up to date ─► check ─► recover each session's place ─► ready
//!     └── not what was written ─► set aside as journal.corrupt-<time>, begin anew
//! ```
//!
//! Guarantees: it opens whatever was done to the file; no `seq` is given to a second event, whether
//! the machine stopped, the file lost its end or was set aside: places jump, and a `gap` says so.
//!
//! Deliberately not here: rebuilding events from spools. A batch does not say which bytes it came
//! from, and without the turn's rows neither ids nor places would be those that were told.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};

use super::apply::Block;
use super::ballast::Ballast;
use super::own::{self, Hole, Why};
use super::places::Places;
use super::schema::{Found, meta, migrate};
use super::standing::Standing;
use super::store::{self, signed, unsigned};
use super::{JournalError, Options, failed};
use crate::clock::Clock;
use crate::event::NoticeLevel;
use crate::files;
use crate::ids::{Seq, SessionId};

/// A file up to this size is checked whole; of a larger one, all but the events' pages, which are
/// checked when they are read. 64 MiB take a tenth of a second.
const CHECKED_WHOLE: u64 = 64 << 20;
/// Journals that were set aside and are kept, for whoever wants to know why.
const KEPT_ASIDE: usize = 2;
/// The fact that says which boot of the machine has the journal open; empty: none has.
pub(super) const OPEN_BOOT: &str = "open_boot";

/// A journal that is ready.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) file: Standing,
    pub(super) places: Places,
    pub(super) ballast: Ballast,
    /// Each session's last `seq`.
    pub(super) last: HashMap<SessionId, u64>,
    /// Each session's `reserved_seq`.
    pub(super) reserved: HashMap<SessionId, u64>,
}

/// The names beside a journal's.
pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    path.with_extension(extension)
}

/// Opens or creates.
pub(super) fn open(path: &Path, options: &Options) -> Result<Opened, JournalError> {
    let ballast = Ballast::new(beside(path, "ballast"), options.ballast);
    let mut opened = ready(path, options);
    if opened.as_ref().is_err_and(JournalError::is_full) {
        ballast.give_up();
        opened = ready(path, options);
    }
    let (writer, places, recovered) = match opened {
        Err(error) if error.is_corruption() => {
            let aside = set_aside(path)?;
            tracing::error!(%error, aside = %aside.display(), "the journal is not whole");
            ready(path, options)?
        }
        opened => opened?,
    };
    Ok(Opened {
        writer,
        file: Standing::of(path).map_err(JournalError::file(path))?,
        places,
        ballast,
        last: recovered.last,
        reserved: recovered.reserved,
    })
}

type Ready = (Connection, Places, Recovered);

fn ready(path: &Path, options: &Options) -> Result<Ready, JournalError> {
    let seq_path = beside(path, "seq");
    let mut places = Places::open(&seq_path).map_err(JournalError::file(&seq_path))?;
    if places.was_condemned() {
        return Err(JournalError::Corrupt("a write found it damaged".to_owned()));
    }
    // SQLite creates its files with the process's umask; the journal must be private from its
    // first byte, so the file is made before SQLite sees it (the -wal and -shm copy its mode).
    if !path.exists() {
        files::create_private(path).map_err(JournalError::file(path))?;
        crash_point!("journal.file_made");
    }
    let mut writer = store::open_writer(path)?;
    let found = migrate(&mut writer)?;
    if found == Found::Journal {
        check(&writer, path)?;
    }
    let boot = (options.boot.as_str(), failed::is_noted(path));
    let recovered = recover(&mut writer, &mut places, found, boot)?;
    failed::forget(path);
    for (session, last) in &recovered.last {
        places
            .gave(session, *last)
            .map_err(JournalError::file(&seq_path))?;
    }
    Ok((writer, places, recovered))
}

fn check(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let mut checks = vec![
        "PRAGMA integrity_check(meta)",
        "PRAGMA integrity_check(session)",
        "PRAGMA integrity_check(turn)",
    ];
    if length <= CHECKED_WHOLE {
        checks.push("PRAGMA quick_check(1)");
    }
    for pragma in checks {
        let verdict: String = connection.query_row(pragma, [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(JournalError::Corrupt(verdict));
        }
    }
    store::verify_rows(connection)
}

/// Moves the files out of the way; the database's new name.
fn set_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let mut aside = beside(path, &format!("corrupt-{}", Clock.wall().millis()));
    while aside.exists() {
        aside.as_mut_os_string().push("x");
    }
    let with = |path: &Path, suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // An index of the log, which SQLite makes anew.
    std::fs::remove_file(with(path, "-shm")).ok();
    for suffix in ["", "-wal"] {
        match std::fs::rename(with(path, suffix), with(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::file(path)(error));
            }
            _ => {}
        }
    }
    forget_older(path);
    Ok(aside)
}

/// Journals that were set aside do not fill the disk.
fn forget_older(path: &Path) {
    let prefix = beside(path, "corrupt-");
    let (Some(folder), Some(prefix)) = (prefix.parent(), prefix.file_name()) else {
        return;
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
    });
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    let is_database = |name: &&PathBuf| !name.as_os_str().as_encoded_bytes().ends_with(b"-wal");
    let Some(oldest_kept) = names.iter().filter(is_database).rev().nth(KEPT_ASIDE - 1) else {
        return;
    };
    for old in names.iter().filter(|name| *name < oldest_kept) {
        // One that cannot be removed is in nobody's way.
        std::fs::remove_file(old).ok();
    }
}

#[derive(Default)]
struct Recovered {
    last: HashMap<SessionId, u64>,
    reserved: HashMap<SessionId, u64>,
}

/// What became of the events that a session had last.
struct Damage {
    /// Everything was lost.
    all: bool,
    /// The machine has stopped since, or its disk has failed.
    power_cut: bool,
}

fn recover(
    writer: &mut Connection,
    places: &mut Places,
    found: Found,
    (boot, has_failed): (&str, bool),
) -> Result<Recovered, JournalError> {
    let open_boot = meta(writer, OPEN_BOOT)?.unwrap_or_default();
    let damage = Damage {
        all: found == Found::Empty && !places.all().is_empty(),
        power_cut: !open_boot.is_empty() && (has_failed || open_boot != boot),
    };
    // What is decided here is decided for good.
    writer.pragma_update(None, "synchronous", "FULL")?;
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut recovered = Recovered::default();
    let mut sessions: BTreeSet<SessionId> = places.all().keys().cloned().collect();
    sessions.extend(store::session_ids(&transaction)?);
    for session in sessions {
        let (last, reserved) = place(&transaction, places, &session, &damage)?;
        recovered.last.insert(session.clone(), last);
        recovered.reserved.insert(session, reserved);
    }
    note_boot(&transaction, boot)?;
    transaction.commit()?;
    writer.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(recovered)
}

/// Notes which boot of the machine has the journal open; none: it was closed in order.
pub(super) fn note_boot(connection: &Connection, boot: &str) -> Result<(), JournalError> {
    connection.execute(
        "INSERT OR REPLACE INTO meta(key, value) VALUES (?1, ?2)",
        [OPEN_BOOT, boot],
    )?;
    Ok(())
}

/// Finds a session's last event, stores a gap for those that are lost behind it; its last and its
/// reserved `seq`.
fn place(
    connection: &Connection,
    places: &Places,
    session: &SessionId,
    damage: &Damage,
) -> Result<(u64, u64), JournalError> {
    let last = store::last_whole(connection, session)?.map_or(0, |batch| batch.last);
    let row = connection.query_row(
        "SELECT max(reserved_seq), max(agent) FROM session WHERE id = ?1",
        [session.as_str()],
        |row| {
            Ok((
                row.get::<_, Option<i64>>(0)?,
                row.get::<_, Option<String>>(1)?,
            ))
        },
    )?;
    let reserved = unsigned(row.0.unwrap_or(0));
    let noted = places.all().get(session);
    let told = match noted {
        Some(place) if damage.all => place.beyond,
        Some(place) if !damage.power_cut => place.last,
        _ => reserved,
    };
    let agent = row.1.or_else(|| Some(noted?.agent.clone()));
    let agent = agent.unwrap_or_default();
    if told <= last {
        return Ok((last, reserved));
    }
    let why = if damage.power_cut {
        Why::PowerCut
    } else {
        Why::Corrupt
    };
    connection.execute(
        "DELETE FROM event_batch WHERE session_id = ?1 AND first_seq > ?2",
        params![session.as_str(), signed(last)],
    )?;
    let hole = Hole {
        from: last + 1,
        to: told,
        why,
    };
    add(
        connection,
        session,
        &agent,
        hole.from,
        hole.to,
        &hole.event(),
    )?;
    if !damage.all {
        return Ok((told, reserved));
    }
    let text = "the journal of this session was damaged or lost; what the Hub had not acknowledged \
        is gone, and turns that were under way are over. A damaged one is kept in the state dir as \
        journal.corrupt-*";
    let notice = own::notice(NoticeLevel::Error, "journal_corrupt", text.to_owned());
    add(connection, session, &agent, told + 1, told + 1, &notice)?;
    Ok((told + 1, reserved))
}

fn add(
    connection: &Connection,
    session: &SessionId,
    agent: &str,
    first: u64,
    last: u64,
    event: &crate::event::Event,
) -> Result<(), JournalError> {
    let at = Clock.wall();
    let (Some(first), Some(last)) = (Seq::new(first), Seq::new(last)) else {
        return Err(JournalError::Corrupt("an event without a place".to_owned()));
    };
    let body = own::line(session, agent, last.get(), at, event)?.into();
    Block {
        first,
        last,
        at,
        body,
    }
    .store(connection, session)
}
