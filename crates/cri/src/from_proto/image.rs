//! Images and credentials.

use cradle_cri_api::v1;
use cradle_domain::{Digest, Reference};
use cradle_engine::ports::{Credentials, PullRequest};
use cradle_engine::spec::ImageRequest;

use super::{Field, InvalidField};
use crate::handlers;

/// The name of the image that a request is about: a reference or an id.
pub fn image_name(image: Option<v1::ImageSpec>) -> Result<String, InvalidField> {
    let field = Field::root("image");
    field.at("image").nonempty(field.required(image)?.image)
}

/// An image as a container or a mount names it.
pub fn image_request(field: Field<'_>, image: v1::ImageSpec) -> Result<ImageRequest, InvalidField> {
    handler(field.at("runtime_handler"), &image.runtime_handler)?;
    Ok(ImageRequest {
        image: field.at("image").nonempty(image.image)?,
        user_specified: image.user_specified_image,
        handler: image.runtime_handler,
        annotations: image.annotations,
    })
}

/// A wish for an image.
pub fn pull(request: v1::PullImageRequest) -> Result<PullRequest, InvalidField> {
    let field = Field::root("image");
    let image = field.required(request.image)?;
    handler(field.at("runtime_handler"), &image.runtime_handler)?;
    wish(field.at("image"), image.image, request.auth)
}

/// A wish for the image with this name.
pub fn wish(field: Field<'_>, name: String, auth: Option<v1::AuthConfig>) -> Result<PullRequest, InvalidField> {
    let name = field.nonempty(name)?;
    if Digest::parse(&name).is_ok() {
        return Err(field.invalid(name, "an image cannot be fetched by its id, only by a name with tag or digest"));
    }
    let reference = Reference::parse(&name).map_err(|error| field.invalid(&name, error.why()))?;
    Ok(PullRequest { reference, credentials: auth.and_then(credentials), progress: None })
}

/// A runtime handler that exists.
pub fn handler(field: Field<'_>, name: &str) -> Result<(), InvalidField> {
    if handlers::is_known(name) {
        return Ok(());
    }
    let known = format!("there is no such runtime handler; there are {:?}", handlers::HANDLERS);
    Err(field.invalid(name, known))
}

/// Credentials; none if nothing is in them.
fn credentials(auth: v1::AuthConfig) -> Option<Credentials> {
    let credentials = Credentials {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    let nothing = Credentials { server_address: credentials.server_address.clone(), ..Credentials::default() };
    (credentials != nothing).then_some(credentials)
}
