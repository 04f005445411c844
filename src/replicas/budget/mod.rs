//! One budget for several processes, in a window that the server keeps.
//!
//! The gate queues requests, shares the budget fairly and estimates when each request goes. The server decides just before a
//! request is sent: one script, `window.lua`, drops what is older than the period, counts, and grants permissions. A process
//! calls it when requests wait, and every 250 ms otherwise, so that processes see each other and learn what the others sent. A
//! lane ([`lane`]) makes the calls. A member ([`member`]) decides what they contain and what may be sent without them: a state
//! machine without I/O, which a model test drives through random faults.
//!
//! # What is guaranteed
//!
//! `N` is `--replicas`, or the number of members seen if that is larger. A member is seen for a second after it sent a call. `G`
//! is a quarter of the rate, the most that is permitted within any second.
//!
//! - **With the server**, upstream sees at most the rate in any period. A permission counts from its instant on the server's
//!   clock for a period and as long as the reply and the request may travel. A later reply is not used, but still counts.
//! - **A process that gets no reply** sends at most rate / N in any period, including requests that it sent with permission.
//!   For a period after the server's last reply it also sends at most (free − 2G) / N, where free is what was left then.
//! - **The server** permits rate × (members seen) / N in all.
//!
//! Together they stay within the rate. If the server is lost to all, the others were permitted at most 2G since the last reply
//! to any of them, so the N processes send at most what was left, and what was used expires after the same period. If one
//! process is cut off, it is seen for one more second, in which the others are permitted at most G; from then on they leave it
//! rate / N. The call with which it is seen again also reports what it sent, in the same run of the script.
//!
//! # What is lost
//!
//! An *epoch* is a random number in both keys of a window. If it is gone (the server restarted empty, evicted or flushed it, or
//! failed over to an empty replica), or if a process sees the server's clock jump, a new epoch begins, in which no member is
//! seen yet. To be seen, a member reports what it sent in the last period and what it knows of the others, so the first member
//! restores all but the last moment.
//!
//! A new process does not know what its predecessor sent without the server. Until it is a period old it is *young*: it is not
//! seen, and has a tenth of a share (upstream's limit is a tenth above the rate). It is seen at once if it takes the place of a
//! process that said goodbye, or if all processes are young and none vanished from the window.
//!
//! The guarantee does not hold for more processes than `--replicas` of which some are cut off, nor if all processes are replaced
//! within a period while the server is away and loses the window.

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
