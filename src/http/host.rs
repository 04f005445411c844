use http::{HeaderMap, Version, header};

use super::params::invalid;
use super::problem::Problem;

/// Refuses HTTP/1.1 requests that do not name exactly one host (RFC 9112 section 3.2). With none or two, two
/// hops may disagree about the target of a request.
pub(super) fn one_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if version == Version::HTTP_11 && hosts != 1 {
        return Err(invalid(format!("`Host` is given {hosts} times; accepted: once")));
    }
    Ok(())
}
