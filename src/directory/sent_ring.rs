//! The file with the times of requests: a ring of slots that are written in place and never synced.
//!
//! What was written survives the process. A crash of the machine may lose the last seconds, but a reboot takes longer than the
//! minute for which times matter.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::{CredentialId, Timestamp};
use crate::tier::SentRequest;

/// The number of slots: enough for a minute at 16,000 requests a minute.
const SLOTS: usize = 16_384;

/// The size of a slot in bytes: the time, the credential, a checksum, and zeros.
const SLOT: usize = 32;

/// The number of bytes that the checksum covers.
const SUMMED: usize = 24;

/// The ring, with the slots as last read or written.
#[derive(Debug)]
pub(super) struct SentRing {
    path: PathBuf,
    file: Option<File>,
    slots: Box<[u8]>,
    /// The next slot to write.
    next: usize,
}

impl SentRing {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, slots: vec![0; SLOTS * SLOT].into(), next: 0 }
    }

    /// Reads the file, and returns what was written since the last read, in no particular order. A missing file is empty.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn read(&mut self) -> io::Result<Vec<SentRequest>> {
        let mut now = Vec::with_capacity(self.slots.len());
        match File::open(&self.path) {
            Ok(file) => file.take(self.slots.len() as u64).read_to_end(&mut now)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        now.resize(self.slots.len(), 0);
        let pairs = now.chunks_exact(SLOT).zip(self.slots.chunks_exact(SLOT));
        let news = pairs.filter(|(new, old)| new != old).filter_map(|(new, _)| decode(new)).collect();
        self.slots = now.into();
        let latest = (0..SLOTS).filter_map(|slot| Some((decode(self.slot(slot))?.at, slot))).max();
        self.next = latest.map_or(0, |(_, slot)| (slot + 1) % SLOTS);
        Ok(news)
    }

    /// Writes the times of requests that are about to be sent, over the oldest.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn write(&mut self, requests: &[SentRequest]) -> io::Result<()> {
        for request in requests {
            self.put(self.next, request)?;
            self.next = (self.next + 1) % SLOTS;
        }
        Ok(())
    }

    /// Replaces times in the future by `now`, because the clock was set back.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn bring_back(&mut self, now: Timestamp) -> io::Result<()> {
        for slot in 0..SLOTS {
            if let Some(request) = decode(self.slot(slot)).filter(|request| request.at > now) {
                self.put(slot, &SentRequest { at: now, ..request })?;
            }
        }
        Ok(())
    }

    fn slot(&self, slot: usize) -> &[u8] {
        &self.slots[slot * SLOT..][..SLOT]
    }

    fn put(&mut self, slot: usize, request: &SentRequest) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
                file.set_len(self.slots.len() as u64)?;
                file
            }
        };
        let encoded = encode(request);
        self.file.insert(file).write_all_at(&encoded, (slot * SLOT) as u64)?;
        self.slots[slot * SLOT..][..SLOT].copy_from_slice(&encoded);
        Ok(())
    }

    /// Closes the file. The next write opens it again, because another process may have replaced the directory.
    pub(super) fn close(&mut self) {
        self.file = None;
    }
}

fn encode(request: &SentRequest) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&request.at.as_micros().to_le_bytes());
    slot[8..SUMMED].copy_from_slice(request.credential.as_bytes());
    let sum = crc32fast::hash(&slot[..SUMMED]);
    slot[SUMMED..SUMMED + 4].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// The request in a slot; `None` if the slot is empty or damaged.
fn decode(slot: &[u8]) -> Option<SentRequest> {
    let (summed, rest) = slot.split_first_chunk::<SUMMED>()?;
    let sum = rest.first_chunk::<4>()?;
    let (at, credential) = summed.split_first_chunk::<8>()?;
    let at = i64::from_le_bytes(*at);
    let is_whole = u32::from_le_bytes(*sum) == crc32fast::hash(summed) && at != 0;
    let credential = CredentialId::new(*credential.first_chunk()?);
    is_whole.then(|| SentRequest { credential, at: Timestamp::from_micros(at) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::testing::{TempFolder, at};

    fn sent(second: i64) -> SentRequest {
        SentRequest { credential: CredentialId::new([3; 16]), at: at(second) }
    }

    #[test]
    fn returns_each_request_of_another_process_once() {
        let folder = TempFolder::new();
        let path = folder.path().join("requests");
        let (mut one, mut two) = (SentRing::new(&path), SentRing::new(&path));
        assert_eq!(one.read().unwrap(), []);
        one.write(&[sent(1), sent(2)]).unwrap();
        assert_eq!(two.read().unwrap(), [sent(1), sent(2)]);
        assert_eq!(two.read().unwrap(), []);
        one.write(&[sent(3)]).unwrap();
        assert_eq!(two.read().unwrap(), [sent(3)]);
        two.write(&[sent(4)]).unwrap();
        assert_eq!(SentRing::new(&path).read().unwrap().len(), 4, "a writer continues after the last slot");
    }

    #[test]
    fn a_full_ring_overwrites_the_oldest() {
        let folder = TempFolder::new();
        let path = folder.path().join("requests");
        let all: Vec<_> = (1..=SLOTS as i64 + 3).map(sent).collect();
        SentRing::new(&path).write(&all).unwrap();
        let mut read = SentRing::new(&path).read().unwrap();
        read.sort_by_key(|request| request.at);
        assert_eq!(read, all[3..]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), (SLOTS * SLOT) as u64);
    }

    #[test]
    fn skips_damaged_slots_and_reads_any_content() {
        let folder = TempFolder::new();
        let path = folder.path().join("requests");
        SentRing::new(&path).write(&[sent(1), sent(2)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..(SUMMED + 4) * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(SentRing::new(&path).read().unwrap(), [sent(2)]);
        }
        for content in [vec![], whole[..SLOT + 5].to_vec(), vec![255; 3 * SLOT]] {
            std::fs::write(&path, &content).unwrap();
            assert!(SentRing::new(&path).read().unwrap().len() <= 1);
        }
    }

    #[test]
    fn times_in_the_future_become_now() {
        let folder = TempFolder::new();
        let path = folder.path().join("requests");
        SentRing::new(&path).write(&[sent(10), sent(5_000)]).unwrap();
        let mut ring = SentRing::new(&path);
        ring.read().unwrap();
        ring.bring_back(at(100)).unwrap();
        let mut read = SentRing::new(&path).read().unwrap();
        read.sort_by_key(|request| request.at);
        assert_eq!(read, [sent(10), sent(100)]);
    }
}
