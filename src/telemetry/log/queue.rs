use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The most bytes that wait to be written: a few seconds of a busy gateway's log.
const MOST_WAITING: usize = 4 << 20;

/// The capacity that a batch may keep for the next one.
const KEPT_CAPACITY: usize = 64 << 10;

/// The pause before writing again to a sink that would block.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// The pause after each batch, in which lines gather for the next one. Waking the writer for every line costs a busy gateway
/// more than writing does. The first line after a quiet time is written at once.
const GATHERING: Duration = Duration::from_millis(5);

/// A queue of lines for a sink that may block. A line that doesn't fit is dropped and counted, so that logging never waits for
/// the log's reader. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub(super) struct LogQueue(Arc<SharedQueue>);

#[derive(Debug, Default)]
struct SharedQueue {
    state: Mutex<QueueState>,
    filled: Condvar,
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<u8>,
    lines: u64,
    is_writing: bool,
}

impl LogQueue {
    /// Writes queued lines to the sink as long as the process runs. `report` is called with the number of dropped lines once
    /// the sink accepts lines again.
    pub(super) fn write_to(&self, mut sink: impl Write, report: impl Fn(u64)) -> ! {
        let (mut batch, mut reported, mut takes_lines) = (Vec::new(), 0, false);
        loop {
            // Only when the queue is empty, because the report is a line, too, and needs room.
            if takes_lines && self.is_empty() {
                self.report_dropped(&mut reported, &report);
            }
            let lines = self.take(&mut batch);
            if takes_lines {
                self.report_dropped(&mut reported, &report);
            }
            takes_lines = write_all(&mut sink, &batch).is_ok();
            if !takes_lines {
                self.0.dropped.fetch_add(lines, Relaxed);
            }
            std::thread::park_timeout(GATHERING);
        }
    }

    fn report_dropped(&self, reported: &mut u64, report: impl Fn(u64)) {
        let dropped = self.dropped();
        if dropped > *reported {
            report(dropped - *reported);
            *reported = dropped;
        }
    }

    fn is_empty(&self) -> bool {
        self.0.state.lock().waiting.is_empty()
    }

    /// The number of lines that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// Waits until everything is written, for at most this long.
    pub(super) fn flush(&self, within: Duration) {
        let mut state = self.0.state.lock();
        let is_busy = |state: &mut QueueState| state.is_writing || !state.waiting.is_empty();
        let _in_time = self.0.emptied.wait_while_for(&mut state, is_busy, within);
    }

    /// Waits for lines, moves all of them into the batch, and returns their number.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        batch.shrink_to(KEPT_CAPACITY);
        let mut state = self.0.state.lock();
        while state.waiting.is_empty() {
            state.is_writing = false;
            self.0.emptied.notify_all();
            self.0.filled.wait(&mut state);
        }
        state.is_writing = true;
        std::mem::swap(&mut state.waiting, batch);
        std::mem::take(&mut state.lines)
    }
}

/// Each call writes one line. It never fails and never blocks.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.waiting.len() + line.len() > MOST_WAITING {
            self.0.dropped.fetch_add(1, Relaxed);
        } else {
            state.waiting.extend_from_slice(line);
            state.lines += 1;
            if !state.is_writing {
                self.0.filled.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Like [`Write::write_all`], but also works for a pipe that another process has made non-blocking.
fn write_all(sink: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::park_timeout(RETRY_AFTER),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A sink that announces a write, then waits for the test to release it.
    struct SlowSink {
        begun: Sender<()>,
        go_on: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for SlowSink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            self.go_on.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct ScriptedSink {
        begun: Receiver<()>,
        go_on: Sender<io::Result<()>>,
        written: Receiver<Vec<u8>>,
        reports: Receiver<u64>,
    }

    fn queue() -> (LogQueue, ScriptedSink) {
        let queue = LogQueue::default();
        let ((begun_sender, begun), (go_on, wait)) = (channel(), channel());
        let ((written_sender, written), (report_sender, reports)) = (channel(), channel());
        let writing = queue.clone();
        std::thread::spawn(move || {
            let sink = SlowSink { begun: begun_sender, go_on: wait, written: written_sender };
            writing.write_to(sink, |lines| {
                let _ = writeln!(writing.clone(), "{lines} dropped");
                let _ = report_sender.send(lines);
            })
        });
        (queue, ScriptedSink { begun, go_on, written, reports })
    }

    #[test]
    fn a_stopped_reader_blocks_nothing_and_dropped_lines_are_counted() {
        let (mut queue, reader) = queue();
        queue.write_all(b"first\n").unwrap();
        reader.begun.recv().unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..7 {
            queue.write_all(&line).unwrap();
        }
        assert_eq!(queue.dropped(), 3);
        assert!(reader.reports.try_recv().is_err());

        reader.go_on.send(Ok(())).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"first\n");
        assert_eq!(reader.reports.recv().unwrap(), 3);
        queue.write_all(b"last\n").unwrap();
        reader.go_on.send(Ok(())).unwrap();
        assert_eq!(reader.written.recv().unwrap().len(), 4 << 20);
        reader.go_on.send(Ok(())).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"3 dropped\nlast\n");
        assert_eq!(queue.dropped(), 3);
        assert!(reader.reports.try_recv().is_err(), "reported twice");
    }

    #[test]
    fn counts_lines_that_the_system_refuses() {
        let (mut queue, reader) = queue();
        queue.write_all(b"first\n").unwrap();
        reader.begun.recv().unwrap();
        queue.write_all(b"second\n").unwrap();
        reader.go_on.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        reader.begun.recv().unwrap();
        assert_eq!(queue.dropped(), 1);
        reader.go_on.send(Ok(())).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"second\n");
        assert_eq!(reader.reports.recv().unwrap(), 1);
    }

    #[test]
    fn retries_a_sink_that_would_block() {
        let (mut queue, reader) = queue();
        queue.write_all(b"first\n").unwrap();
        reader.go_on.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
        reader.go_on.send(Ok(())).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"first\n");
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_flush_waits_for_the_last_line_within_its_limit() {
        let (mut queue, reader) = queue();
        queue.flush(Duration::MAX);
        queue.write_all(b"first\n").unwrap();
        queue.flush(Duration::from_millis(1));
        assert!(reader.written.try_recv().is_err());
        reader.go_on.send(Ok(())).unwrap();
        queue.flush(Duration::MAX);
        assert_eq!(reader.written.try_recv().unwrap(), b"first\n");
    }
}
