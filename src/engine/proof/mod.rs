//! Proves that pages lost nothing: pure machines that take pages and say what to do next.

mod beliefs;
mod cut;
mod goal;
mod learned;
mod rounds;
mod walk;

pub(super) use self::cut::{
    Doubt, LookAgain, PageClaim, SECOND, claim, cut_at, cut_point, fitting_width, middle, rows_within,
    topmost,
};
pub(super) use self::goal::{DateSupport, Extent, WalkGoal};
pub(super) use self::learned::Learned;
pub(super) use self::rounds::{Belief, Rounds};
pub(super) use self::walk::{Order, Walk, WalkStep};
