//! One budget for several processes, in a window that the server keeps.
//!
//! The gate queues a request, shares the budget fairly and knows about when it goes. The server has the last word, just before
//! the request is sent: one script, `window.lua`, drops what is older than the period, counts, and permits. A process calls it
//! when requests wait, and every 250 ms otherwise, so the others see that it is there and it learns what they sent. A lane
//! ([`lane`]) makes the calls, and a member ([`member`]) decides what they say and what may be sent without them; it is a
//! state machine without I/O, which a model test drives through random faults.
//!
//! # What is guaranteed
//!
//! `N` is `--replicas`, or the number of members seen if that is more. A member is seen for a second after it sent a call. `G`
//! is a quarter of the rate: no more is permitted within any second.
//!
//! - **With the server**, upstream sees at most the rate in any period. A permission counts from its instant on the server's
//!   clock for a period and as long as the reply and the request may travel; a reply that comes later is not used, but counts.
//! - **A process that gets no reply** sends at most rate / N in any period, own requests of before included. For a period after
//!   it last heard the server it also sends at most (free − 2G) / N, where free is what the server had left then.
//! - **The server** permits rate × (members seen) / N in all.
//!
//! Together they stay within the rate. If the server is lost to all, others were permitted at most 2G since any of them last
//! heard it, so what the N send is at most what was left; and what was used is forgotten after the same period. If one is cut
//! off, it is first seen for a second, in which others are permitted at most G; from then on they leave it rate / N. Before it
//! counts as seen again, the call that makes it so reports what it sent, in the same run of the script.
//!
//! # What is lost
//!
//! An *epoch* is a random number in both keys of a window. If it is gone (restarted empty, evicted, flushed, failed over to an
//! empty replica), or a process sees the server's clock jump, a new epoch begins, in which nobody is seen yet. To be seen, a
//! member reports what it sent in the last period, and what it knows of the others. So the first one brings back all but the
//! last moment.
//!
//! A process that was just started does not know what its predecessor sent without the server. Until it is a period old it is
//! *young*: it is not seen, and has a tenth of a share (upstream's limit is a tenth above the rate). It is seen at once if it
//! takes the place of a process that said goodbye, or if all processes are young and
//! none vanished from the window.
//!
//! Beyond the guarantee: more processes than `--replicas` of which some are cut off, and all processes replaced within a
//! period while the server is away and loses the window.

mod call;
mod lane;
mod link;
mod member;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod script_tests;
mod shared;
mod terms;

pub(super) use self::shared::BudgetScope;
pub use self::shared::SharedBudget;
pub use self::terms::BudgetTerms;
