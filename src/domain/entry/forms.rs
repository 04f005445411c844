use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::Entry;
use super::room::{Fresh, Kept, Look, Room};
use crate::deflate::{Deflated, Effort, Separator};

/// How many times smaller deflated rows are thought to be while it is not known.
const USUAL_RATIO: usize = 5;

/// The forms in which an entry's bytes are held.
///
/// They come plain. Once somebody has deflated them that is what they are held in, and plain forms, with either separator,
/// are made of it when they are asked for, and kept beside it while there is [`Room`]. An entry that no store has taken
/// in has no room, and stays as it came.
///
/// # Invariants
/// The rows are held plain as they came, or deflated, or both.
#[derive(Debug)]
pub(super) struct Forms {
    held: Mutex<Held>,
    /// Whoever deflates, alone.
    deflating: Mutex<()>,
    room: OnceLock<Arc<Room>>,
}

#[derive(Debug)]
struct Held {
    fresh: Option<Fresh>,
    deflated: Option<Arc<Deflated>>,
    lines: Option<Kept>,
    commas: Option<Kept>,
}

impl Held {
    const fn kept(&mut self, separator: Separator) -> &mut Option<Kept> {
        match separator {
            Separator::Line => &mut self.lines,
            Separator::Comma => &mut self.commas,
        }
    }

    fn plain(&mut self, separator: Separator) -> Option<Bytes> {
        if let Some(kept) = self.kept(separator) {
            return Some(kept.used());
        }
        match separator {
            Separator::Line => self.fresh.as_ref().map(Fresh::bytes),
            Separator::Comma => None,
        }
    }
}

impl Forms {
    /// Of bytes as they came, a line feed after each row.
    pub(super) const fn of(lines: Bytes) -> Self {
        let held = Held { fresh: Some(Fresh::new(lines)), deflated: None, lines: None, commas: None };
        Self { held: Mutex::new(held), deflating: Mutex::new(()), room: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live_within(&self, entry: &Arc<Entry>, room: &Arc<Room>) {
        if self.room.set(Arc::clone(room)).is_err() {
            return;
        }
        if let Some(fresh) = &mut self.lock().fresh {
            fresh.count(room);
        }
        self.let_fresh_go(entry);
    }

    /// Gives up the bytes as they came, if the rows are deflated, unless there is room.
    fn let_fresh_go(&self, entry: &Arc<Entry>) {
        let Some(room) = self.room.get() else { return };
        let fresh = {
            let mut held = self.lock();
            if held.deflated.is_none() {
                return;
            }
            held.fresh.take()
        };
        // A room is never asked under the lock: it asks entries under its own.
        let kept = fresh.and_then(|fresh| room.keep_if_free(entry, Separator::Line, fresh.bytes()));
        if let Some(kept) = kept {
            self.lock().lines.get_or_insert(kept);
        }
    }

    /// Every row with a line feed after it, without keeping them so.
    pub(super) fn lines(&self) -> io::Result<Bytes> {
        let deflated = {
            let held = self.lock();
            if let Some(fresh) = &held.fresh {
                return Ok(fresh.bytes());
            }
            match (&held.lines, &held.deflated) {
                (Some(lines), _) => return Ok(lines.bytes()),
                (None, Some(deflated)) => Arc::clone(deflated),
                (None, None) => return Err(io::Error::other("an entry without bytes")),
            }
        };
        let mut lines = deflated.inflate()?;
        lines.push(Separator::Line.byte());
        Ok(lines.into())
    }

    pub(super) fn has_plain(&self, separator: Separator) -> bool {
        let mut held = self.lock();
        held.kept(separator).is_some() || (separator == Separator::Line && held.fresh.is_some())
    }

    pub(super) fn plain(&self, entry: &Arc<Entry>, separator: Separator) -> io::Result<Bytes> {
        if let Some(plain) = self.lock().plain(separator) {
            return Ok(plain);
        }
        let lines = self.lines()?;
        let plain = match separator {
            Separator::Line => lines,
            Separator::Comma => {
                // Copied only if somebody else holds the lines.
                let mut commas = Vec::from(lines);
                entry.rows.iter().for_each(|row| commas[row.end] = separator.byte());
                commas.into()
            }
        };
        if let Some(kept) = self.room.get().and_then(|room| room.keep(entry, separator, plain.clone())) {
            self.lock().kept(separator).get_or_insert(kept);
        }
        Ok(plain)
    }

    pub(super) fn deflated_already(&self) -> Option<Arc<Deflated>> {
        self.lock().deflated.clone()
    }

    pub(super) fn deflated(&self, entry: &Arc<Entry>, effort: Effort) -> io::Result<Arc<Deflated>> {
        let enough = |deflated: &Arc<Deflated>| deflated.effort() >= effort;
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let _alone = self.deflating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deflated) = self.deflated_already().filter(enough) {
            return Ok(deflated);
        }
        let lines = self.lines()?;
        let ends = entry.ends();
        let between = &lines[..lines.len().saturating_sub(1)];
        let deflated = Arc::new(Deflated::new(between, &ends, effort)?);
        self.lock().deflated = Some(Arc::clone(&deflated));
        self.let_fresh_go(entry);
        Ok(deflated)
    }

    /// Whether a plain form stays where room is needed; else it is dropped.
    pub(super) fn spares(&self, separator: Separator, look: Look) -> bool {
        let mut held = self.lock();
        let kept = held.kept(separator);
        let is_spared = kept.as_mut().is_some_and(|kept| kept.withstands(look));
        if !is_spared {
            *kept = None;
        }
        is_spared
    }

    pub(super) fn weight(&self, plain: usize) -> usize {
        let held = self.lock();
        match (&held.deflated, self.room.get()) {
            (Some(deflated), _) => deflated.weight(),
            (None, Some(_)) => plain / USUAL_RATIO,
            (None, None) => plain,
        }
    }
}
