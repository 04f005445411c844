use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::{Empty, Full};
use tokio::sync::Notify;

use super::*;

/// Responds when allowed to, and counts requests.
#[derive(Default)]
struct ScriptedForward {
    asked: AtomicUsize,
    ended: Arc<AtomicUsize>,
    go: Notify,
}

struct EndCounter(Arc<AtomicUsize>);

impl Drop for EndCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Forward for ScriptedForward {
    fn forward(&self, _: Request<ForwardBody>) -> BoxFuture<'_, Result<Response<ForwardBody>, ForwardError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _ended = EndCounter(Arc::clone(&self.ended));
            self.go.notified().await;
            let body = Full::new(Bytes::from_static(b"[]")).map_err(|never| match never {});
            Ok(Response::new(body.boxed_unsync()))
        })
    }
}

fn reading() -> ReadRequest {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    ReadRequest {
        key: (CredentialId::new([1; 16]), "/v2/agent/all".into()),
        request: Request::new(body),
        lifetime: Box::new(|_| Duration::from_secs(60)),
    }
}

fn begin(reads: &Arc<SharedReads>, script: &Arc<ScriptedForward>) -> Arc<PendingRead> {
    reads.read(reading(), Arc::<ScriptedForward>::clone(script), &Shutdown::default())
}

async fn until(is: impl Fn() -> bool) {
    while !is() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_continues_for_the_others_when_the_first_caller_leaves() {
    let (reads, script) = (Arc::new(SharedReads::new(1 << 20)), Arc::new(ScriptedForward::default()));
    let first = begin(&reads, &script);
    let others: Vec<_> = (0..49).map(|_| begin(&reads, &script)).collect();
    drop(first);
    until(|| script.asked.load(Ordering::SeqCst) == 1).await;
    script.go.notify_one();
    for other in others {
        assert_eq!(other.outcome().await.unwrap().body, "[]");
    }
    assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    assert!(reads.kept(&reading().key).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_when_the_last_caller_leaves() {
    let (reads, script) = (Arc::new(SharedReads::new(1 << 20)), Arc::new(ScriptedForward::default()));
    let flight = begin(&reads, &script);
    until(|| script.asked.load(Ordering::SeqCst) == 1).await;
    drop(flight);
    until(|| script.ended.load(Ordering::SeqCst) == 1).await;
    assert!(reads.flights.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_in_progress_during_a_write_is_neither_cached_nor_joined() {
    let (reads, script) = (Arc::new(SharedReads::new(1 << 20)), Arc::new(ScriptedForward::default()));
    let before = begin(&reads, &script);
    until(|| script.asked.load(Ordering::SeqCst) == 1).await;
    reads.drop_credential(reading().key.0);
    let after = begin(&reads, &script);
    until(|| script.asked.load(Ordering::SeqCst) == 2).await;
    script.go.notify_one();
    assert_eq!(before.outcome().await.unwrap().status, StatusCode::OK);
    assert!(reads.kept(&reading().key).is_none());
    script.go.notify_one();
    assert!(after.outcome().await.is_ok());
    assert!(reads.kept(&reading().key).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cached_response_expires() {
    let (reads, script) = (Arc::new(SharedReads::new(1 << 20)), Arc::new(ScriptedForward::default()));
    script.go.notify_one();
    begin(&reads, &script).outcome().await.unwrap();
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(reads.kept(&reading().key).is_none());
}
