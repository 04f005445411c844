use std::fs;
use std::time::SystemTime;

use super::testing::{DAY, Disk, WEEK, stall};
use super::*;
use crate::domain::Span;
use crate::sealed::testing::{at, cell, entry, scope, span};
use crate::tier::ForgottenSpan;

const SAVED: Saved = Saved::Yes { before: 0, after: 0 };

/// The changes of a read of one page.
fn changes(disk: &Disk, number: u128, span: Span) -> (ScopeChanges, Arc<EntryIndex>) {
    let from = span.from().as_micros() / 1_000_000;
    let entry = entry(&[from + 30, from + 20, from + 10], disk.read_at());
    let cell = cell(&scope(1), number, span, entry.index(), disk.read_at());
    let rows = vec![(cell.entries[0].key, Arc::clone(&entry))];
    (ScopeChanges { forgotten: Vec::new(), cells: vec![cell], rows }, Arc::clone(entry.index()))
}

fn hour(week: i64, hour: i64) -> Span {
    span(week * WEEK + hour * 3600, week * WEEK + hour * 3600 + 3599)
}

async fn spans(directory: &Directory) -> Vec<Span> {
    let cells = directory.load(&scope(1), 0).await.cells;
    let mut spans: Vec<_> =
        cells.iter().flat_map(|cell| &cell.segments).map(|segment| segment.span).collect();
    spans.sort_by_key(|span| span.from());
    spans
}

/// For each entry that a directory knows, whether its bytes can be read.
async fn rows(directory: &Directory) -> Vec<bool> {
    let cells = directory.load(&scope(1), 0).await.cells;
    let entries = cells.iter().flat_map(|cell| &cell.entries);
    let entries = entries.map(|entry| (entry.key, Arc::clone(&entry.index))).collect();
    directory.load_rows(&scope(1), entries).await.iter().map(Option::is_some).collect()
}

async fn keep(disk: &Disk, directory: &Directory, number: u128, span: Span) {
    let (changes, _) = changes(disk, number, span);
    // On a busy machine, the lock may be taken after the start.
    while !directory.status().is_ok {
        directory.writer.run(|| ()).await.unwrap();
    }
    assert_eq!(directory.save(&scope(1), changes.into()).await, SAVED);
}

/// Lets the thread that writes finish its idle work.
async fn settle(directory: &Directory) {
    let shared = Arc::clone(&directory.shared);
    let work = move || while shared.tick().is_zero() {};
    directory.writer.run(work).await.unwrap();
}

#[tokio::test]
async fn saved_rows_survive_a_restart() {
    let disk = Disk::new();
    let (changes, index) = changes(&disk, 1, hour(90, 1));
    let before = disk.open();
    assert_eq!(before.save(&scope(1), changes.clone().into()).await, SAVED);
    disk.close(before);
    let after = disk.open();
    let cells = after.load(&scope(1), 0).await.cells;
    assert_eq!(cells.len(), 1);
    assert_eq!((cells[0].week, &cells[0].segments), (90, &changes.cells[0].segments));
    let asked = vec![(cells[0].entries[0].key, Arc::clone(&cells[0].entries[0].index))];
    let rows = after.load_rows(&scope(1), asked).await;
    let found = rows[0].as_ref().unwrap();
    assert_eq!((found.index().digest(), found.index().len()), (index.digest(), 3));
    assert!(found.has_bytes());
    assert_eq!(after.load(&scope(2), 0).await.cells.len(), 0);
    assert!(after.status().is_ok);
}

#[tokio::test]
async fn a_save_keeps_other_spans_unless_it_forgets_them() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    keep(&disk, &directory, 2, hour(90, 3)).await;
    keep(&disk, &directory, 3, hour(91, 0)).await;
    assert_eq!(spans(&directory).await, [hour(90, 1), hour(90, 3), hour(91, 0)]);
    let span = Span::new(Timestamp::MIN, hour(90, 2).to()).unwrap();
    let forgotten = vec![ForgottenSpan { span, until: Timestamp::MAX }];
    let changes = ScopeChanges { forgotten, ..ScopeChanges::default() };
    assert_eq!(directory.save(&scope(1), changes.into()).await, SAVED);
    assert_eq!(spans(&directory).await, [hour(90, 3), hour(91, 0)]);
    assert_eq!(disk.files("rows").len(), 2, "the bytes of forgotten rows are deleted");
}

#[tokio::test]
async fn a_purge_survives_a_restart_and_spares_newer_rows() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    let read_at = at(disk.read_at());
    directory.void(Voided::Agent(scope(1).agent), read_at).await.unwrap();
    assert_eq!(spans(&directory).await, []);
    disk.close(directory);
    let directory = disk.open();
    assert_eq!(spans(&directory).await, []);
    let (mut later, _) = changes(&disk, 2, hour(90, 5));
    for segment in &mut later.cells[0].segments {
        (segment.read_at, segment.latest_read_at) = (read_at.next(), read_at.next());
    }
    directory.save(&scope(1), later.into()).await;
    assert_eq!(spans(&directory).await, [hour(90, 5)]);
    directory.void(Voided::Credential(scope(1).credential), read_at.next()).await.unwrap();
    assert_eq!(spans(&directory).await, []);
}

#[tokio::test]
async fn rows_read_too_long_ago_or_in_the_future_are_ignored() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    disk.close(directory);
    let open_at = |now| disk.open_with(1 << 30, now);
    assert_eq!(spans(&open_at(at(disk.read_at() - 60).plus(2 * DAY))).await.len(), 1);
    assert_eq!(spans(&open_at(at(disk.read_at() + 60).plus(2 * DAY))).await, []);
    assert_eq!(spans(&open_at(at(disk.read_at()))).await.len(), 1);
    assert_eq!(spans(&open_at(at(disk.read_at() - 60))).await, [], "the clock was set back");
}

#[tokio::test]
async fn a_second_process_reads_and_takes_over() {
    let disk = Disk::new();
    let (first, second) = (disk.open(), disk.open());
    assert_eq!((first.status().is_ok, second.status().is_ok), (true, false));
    keep(&disk, &first, 1, hour(90, 1)).await;
    let (more, _) = changes(&disk, 2, hour(90, 2));
    assert_eq!(second.save(&scope(1), more.clone().into()).await, Saved::No);
    assert_eq!(spans(&second).await, [hour(90, 1)]);
    let agent = Voided::Agent(scope(1).agent);
    assert_eq!(second.void(agent, at(1)).await, Err(TierUnavailable));
    assert_eq!(second.voided(vec![scope(1)]).await, [(scope(1), at(1))]);
    first.void(agent, at(disk.read_at())).await.unwrap();
    assert_eq!(spans(&second).await, [], "a purge by the other process applies here");
    assert_eq!(second.voided(vec![scope(1)]).await, [(scope(1), at(disk.read_at()))]);
    disk.close(first);
    settle(&second).await;
    assert!(second.status().is_ok);
    assert_eq!(second.save(&scope(1), more.into()).await, SAVED);
    second.void(agent, at(1)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_a_miss_and_is_removed() {
    for extension in ["cell", "rows"] {
        let disk = Disk::new();
        let directory = disk.open();
        keep(&disk, &directory, 1, hour(90, 1)).await;
        let [path] = &disk.files(extension)[..] else { panic!("not one file") };
        let whole = fs::read(path).unwrap();
        let mut damaged = vec![vec![], vec![0; whole.len()], whole[..whole.len() / 2].to_vec()];
        damaged.extend((0..whole.len() * 8).step_by(7).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }));
        for content in damaged {
            fs::write(path, content).unwrap();
            assert_eq!(rows(&directory).await.iter().filter(|found| **found).count(), 0);
        }
        fs::write(path, &whole[..9]).unwrap();
        let _ = rows(&directory).await;
        assert!(!path.exists());
        assert!(directory.readings().files[2].1 > 20);
    }
}

#[tokio::test]
async fn another_version_is_a_miss_and_is_left_alone() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    let [path] = &disk.files("cell")[..] else { panic!("not one file") };
    let mut foreign = fs::read(path).unwrap();
    foreign[6] = 99;
    fs::write(path, &foreign).unwrap();
    assert_eq!(spans(&directory).await, []);
    settle(&directory).await;
    assert_eq!(fs::read(path).unwrap(), foreign);
    assert_eq!(disk.files("rows").len(), 1, "the cell may refer to them");
}

#[tokio::test]
async fn a_cell_copied_to_another_scope_is_ignored() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    let [path] = &disk.files("cell")[..] else { panic!("not one file") };
    let secret = directory.shared.files.secret();
    let other = directory.shared.files.folder(secret.first(), &scope(2));
    fs::create_dir(&other).unwrap();
    fs::copy(path, other.join(path.file_name().unwrap())).unwrap();
    assert_eq!(directory.load(&scope(2), 0).await.cells.len(), 0);
}

#[tokio::test]
async fn another_secret_opens_nothing_and_an_older_line_still_does() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    keep(&disk, &directory, 2, hour(91, 1)).await;
    disk.close(directory);
    disk.set_secret(&[2]);
    let directory = disk.open();
    assert_eq!(spans(&directory).await, []);
    disk.close(directory);
    disk.set_secret(&[2, 1]);
    let directory = disk.open();
    assert_eq!(spans(&directory).await.len(), 2);
    assert_eq!(rows(&directory).await, [true, true]);
    keep(&disk, &directory, 3, hour(90, 3)).await;
    assert_eq!(spans(&directory).await, [hour(90, 1), hour(90, 3), hour(91, 1)]);
    assert_eq!(rows(&directory).await.iter().filter(|found| **found).count(), 3);
    directory.void(Voided::Agent(scope(1).agent), at(disk.read_at())).await.unwrap();
    disk.close(directory);
    disk.set_secret(&[1]);
    assert_eq!(spans(&disk.open()).await, [], "a purge applies under every line");
}

#[tokio::test]
async fn a_purge_under_one_line_of_the_secret_voids_rows_saved_under_another() {
    let disk = Disk::new();
    disk.set_secret(&[2, 1]);
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    disk.close(directory);
    // The change of the secret is reverted for a while.
    disk.set_secret(&[1]);
    let directory = disk.open();
    keep(&disk, &directory, 2, hour(90, 3)).await;
    directory.void(Voided::Agent(scope(1).agent), at(disk.read_at())).await.unwrap();
    disk.close(directory);
    disk.set_secret(&[2, 1]);
    let directory = disk.open();
    assert_eq!(spans(&directory).await, []);
    let (mut later, _) = changes(&disk, 3, hour(90, 5));
    let read_at = at(disk.read_at()).next();
    for segment in &mut later.cells[0].segments {
        (segment.read_at, segment.latest_read_at) = (read_at, read_at);
    }
    assert_eq!(directory.save(&scope(1), later.into()).await, SAVED);
    disk.close(directory);
    disk.set_secret(&[2]);
    assert_eq!(spans(&disk.open()).await, [hour(90, 5)], "a save does not keep void rows");
}

#[tokio::test]
async fn reloads_a_changed_secret() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    disk.set_secret(&[2, 1]);
    settle(&directory).await;
    keep(&disk, &directory, 2, hour(91, 1)).await;
    assert_eq!(spans(&directory).await.len(), 2);
    disk.close(directory);
    disk.set_secret(&[2]);
    assert_eq!(spans(&disk.open()).await, [hour(91, 1)]);
}

#[tokio::test]
async fn removes_the_oldest_weeks_of_the_least_recently_used_scope() {
    let disk = Disk::new();
    let directory = disk.open();
    for week in [88i64, 90, 89] {
        keep(&disk, &directory, week.unsigned_abs().into(), hour(week, 1)).await;
    }
    disk.close(directory);
    // Another scope that was used longer ago.
    let other = disk.files("cell")[0].parent().unwrap().with_file_name("0".repeat(32));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("x.rows"), vec![1; 10_000]).unwrap();
    fs::File::open(&other).unwrap().set_modified(SystemTime::UNIX_EPOCH + DAY).unwrap();
    let directory = disk.open_with(24 << 10, disk.now);
    settle(&directory).await;
    assert!(!other.exists());
    assert_eq!((spans(&directory).await.len(), directory.readings().bytes), (3, 24 << 10));
    keep(&disk, &directory, 91, hour(91, 1)).await;
    // It removes a little more than needed, so that not every save has to.
    assert_eq!(spans(&directory).await, [hour(90, 1), hour(91, 1)]);
    assert_eq!(disk.files("rows").len(), 2);
    assert!(directory.readings().bytes <= 24 << 10);
}

#[tokio::test]
async fn deletes_unfinished_files_and_bytes_without_a_cell() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    disk.close(directory);
    let folder = disk.files("cell")[0].parent().unwrap().to_owned();
    fs::write(folder.join("0123.tmp"), "half").unwrap();
    fs::write(folder.join(format!("{}.rows", "0".repeat(32))), "lost").unwrap();
    let directory = disk.open();
    settle(&directory).await;
    assert!(disk.files("tmp").is_empty());
    let _ = spans(&directory).await;
    settle(&directory).await;
    assert_eq!(disk.files("rows").len(), 1);
    assert_eq!(rows(&directory).await, [true]);
}

#[tokio::test]
async fn reports_a_failing_disk_and_recovers() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    // With a file in place of the folder, even the superuser can't write.
    let folder = disk.files("cell")[0].parent().unwrap().to_owned();
    let aside = folder.with_extension("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    let (more, _) = changes(&disk, 2, hour(90, 2));
    assert_eq!(directory.save(&scope(1), more.clone().into()).await, Saved::No);
    assert_eq!(directory.readings().state, TierStateReading::Failing);
    assert_eq!(directory.load(&scope(1), 0).await.cells.len(), 0);
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    assert_eq!(directory.save(&scope(1), more.clone().into()).await, Saved::No, "no write is tried so soon");
    directory.shared.end_rest();
    assert_eq!(directory.save(&scope(1), more.into()).await, SAVED);
    assert!(directory.status().is_ok);
}

#[tokio::test]
async fn a_removed_directory_is_created_again() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    fs::remove_dir_all(disk.tier()).unwrap();
    let (more, _) = changes(&disk, 2, hour(90, 2));
    let _ = directory.save(&scope(1), more.clone().into()).await;
    settle(&directory).await;
    assert_eq!(directory.save(&scope(1), more.into()).await, SAVED);
    assert_eq!(spans(&directory).await, [hour(90, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_disk_is_a_miss_after_a_bounded_wait() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    let stalled = (stall(&directory.reader), stall(&directory.writer));
    let began = tokio::time::Instant::now();
    assert_eq!(spans(&directory).await, []);
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    assert_eq!(directory.void(Voided::Agent(scope(2).agent), at(1)).await, Err(TierUnavailable));
    assert_eq!(began.elapsed(), Duration::from_millis(250) + VOID_TIME);
    drop(stalled);
    assert_eq!(directory.readings().files[4], ("late", 1));
}

#[tokio::test]
async fn the_files_contain_no_plain_data() {
    let disk = Disk::new();
    let directory = disk.open();
    keep(&disk, &directory, 1, hour(90, 1)).await;
    directory.void(Voided::Agent(scope(1).agent), at(1)).await.unwrap();
    let of = scope(1);
    let secrets: [&[u8]; 4] = [&of.key, of.agent.as_bytes(), b"row-", b"so it was said"];
    let mut folders = vec![disk.tier()];
    let mut files = 0;
    while let Some(path) = folders.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.contains(&of.agent.to_string()), "{name}");
        if path.is_dir() {
            folders.extend(disk::list(&path));
            continue;
        }
        files += 1;
        let content = fs::read(&path).unwrap();
        for secret in secrets {
            assert!(!content.windows(secret.len()).any(|part| part == secret), "{name}");
        }
    }
    assert!(files >= 4, "only {files} files");
}
