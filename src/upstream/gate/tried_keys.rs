use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::CallerId;

/// How many responses a key may get without being accepted. A valid key is proven by its first one.
const FEW: u32 = 8;

/// How long such responses count after the last one.
const REMEMBERED: Duration = Duration::from_mins(1);

/// The maximum number of remembered keys. Beyond it, all are forgotten, because each made-up key is used only
/// once.
const MOST: usize = 1024;

/// The keys that got a few responses without being accepted.
///
/// Their requests are a separate branch among those of unproven keys, so that a key that is never accepted
/// does not use up the share that another key of the same network needs to be proven. Behind a proxy, all
/// keys have the same network.
#[derive(Debug, Default)]
pub(super) struct TriedKeys(HashMap<CallerId, (u32, Instant)>);

impl TriedKeys {
    /// Records a response that did not accept a key.
    pub(super) fn note(&mut self, key: CallerId, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, at)| now < *at + REMEMBERED);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let (answers, at) = self.0.entry(key).or_insert((0, now));
        *answers = if now < *at + REMEMBERED { answers.saturating_add(1) } else { 1 };
        *at = now;
    }

    /// Whether a key recently got a few such responses.
    pub(super) fn contain(&self, key: CallerId, now: Instant) -> bool {
        self.0.get(&key).is_some_and(|(answers, at)| *answers >= FEW && now < *at + REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{CallerId, CredentialId};
    use crate::source::Urgency;
    use crate::upstream::gate::tests::{asker, context, gate};
    use crate::upstream::gate::{KeyAcceptance, PassOutcome, PassRequest};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_never_accepted_leaves_the_next_key_of_its_network_room_to_be_proven() {
        let gate = gate(450, Duration::from_mins(1), 32);
        let mut tried = context(Urgency::Refresh);
        tried.budget_wait = Some(Duration::ZERO);
        let unproven = |context| PassRequest { standing: KeyAcceptance::Unproven, ..asker(context) };
        let mut sent = 0;
        while let Ok(pass) = gate.enter(unproven(&tried)).await {
            pass.answered(None);
            pass.finish(PassOutcome::Answered);
            sent += 1;
        }
        assert!((100..=225).contains(&sent), "{sent} requests");
        let mut next = tried.clone();
        next.caller.id = CallerId::Key(CredentialId::new([9; 16]));
        for _ in 0..4 {
            let pass = gate.enter(unproven(&next)).await.unwrap();
            pass.answered(None);
            pass.finish(PassOutcome::Answered);
        }
    }
}
