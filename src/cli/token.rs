use secrecy::ExposeSecret as _;

use super::{Exit, print};
use crate::config::TokenNew;
use crate::http::auth::new_token;

/// Creates a caller token. Its line for the tokens file goes to stdout and the token to stderr, so that
/// `fanfold token new … >> tokens` keeps the secret out of the file.
pub fn token_new(settings: &TokenNew) -> Exit {
    match new_token(&settings.name, &settings.agents, settings.expires) {
        Ok(made) => {
            print::out(&made.line);
            print::err(made.token.expose_secret());
            Exit::Done
        }
        Err(fault) => {
            print::err(format_args!("--name: {fault}"));
            Exit::BadSettings
        }
    }
}
