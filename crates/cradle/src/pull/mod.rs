//! `cradle pull`: fetches an image and shows how far each layer is; from a daemon that does not tell, without.
//!
//! `layers` keeps what the daemon told, `display` lays it out as text, `view` puts it on a terminal or into a log.

mod display;
mod layers;
mod view;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cradle_cri_api::{cradle_v1, v1};
use tonic::Streaming;

use crate::arguments::{Login, Pull};
use crate::client::{Client, image_spec};
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::output;
use layers::Layers;
pub use view::View;

/// How often times and speeds are brought up to date where nothing comes.
const TICK: Duration = Duration::from_secs(1);

pub async fn pull(client: &mut Client, pull: &Pull) -> Result<ExitCode, Error> {
    let mut interrupts = Interrupts::listen()?;
    let auth = credentials(&pull.login)?;
    let view = if pull.quiet { View::Nothing } else { View::for_stderr() };
    let id = interrupts.unless(fetch(client, &pull.image, auth, view)).await?;
    output::line(id)?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches an image and answers with its id.
pub async fn fetch(
    client: &mut Client,
    image: &str,
    auth: Option<v1::AuthConfig>,
    view: View,
) -> Result<String, Error> {
    let request = cradle_v1::PullRequest { reference: image.to_owned(), auth: auth.clone() };
    match client.cradle.pull(request).await.map_err(Error::from) {
        Ok(answer) => follow(answer.into_inner(), image, view).await,
        Err(error) if error.is_unimplemented() => {
            let request = v1::PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config: None };
            Ok(client.images.pull_image(request).await?.into_inner().image_ref)
        }
        Err(error) => Err(error),
    }
}

/// Shows the progress until the pull is done.
async fn follow(
    mut progress: Streaming<cradle_v1::PullProgress>,
    image: &str,
    mut view: View,
) -> Result<String, Error> {
    let mut layers = Layers::new(Instant::now());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            message = progress.message() => {
                let none = || Error::Local(format!("the daemon ended the pull of {image} without an image; its log says why"));
                let message = message?.ok_or_else(none)?;
                let ended = layers.update(&message.layers, Instant::now());
                view.show(&layers, &ended);
                if !message.image_id.is_empty() {
                    view.finish(&layers, image);
                    return Ok(message.image_id);
                }
            }
            _ = tick.tick() => view.show(&layers, &[]),
        }
    }
}

/// The credentials of the command line.
pub fn credentials(login: &Login) -> Result<Option<v1::AuthConfig>, Error> {
    let Some(text) = &login.credentials else { return Ok(None) };
    let bad = || Error::local("--creds: expected USER:PASSWORD");
    let (username, password) = text.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or_else(bad)?;
    let auth = v1::AuthConfig { username: username.to_owned(), password: password.to_owned(), ..Default::default() };
    Ok(Some(auth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_a_user_and_a_password_that_may_have_colons() {
        let read = |text: &str| credentials(&Login { credentials: Some(text.to_owned()) });
        let auth = read("kim:a:b").unwrap().unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("kim", "a:b"));
        assert!(read("kim").is_err() && read(":x").is_err());
        assert!(credentials(&Login { credentials: None }).unwrap().is_none());
    }
}
