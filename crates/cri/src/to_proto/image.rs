//! Images and what they take.

use std::path::Path;

use cradle_cri_api::v1;
use cradle_domain::Timestamp;
use cradle_engine::ports::ImageUsage;
use cradle_engine::view::ImageView;

/// An image, in lists and alone.
pub fn image(view: &ImageView) -> v1::Image {
    let (uid, username) = user(&view.config.user);
    let mut repo_tags: Vec<_> = view.tags.iter().map(ToString::to_string).collect();
    repo_tags.sort_unstable();
    v1::Image {
        id: view.id.to_string(),
        repo_tags,
        repo_digests: view.digests.clone(),
        size: view.size_bytes,
        uid,
        username,
        spec: Some(v1::ImageSpec { image: view.id.to_string(), ..Default::default() }),
        pinned: view.pinned,
    }
}

/// The user of an image's configuration, `user[:group]`: a number or a name. The kubelet decides `runAsNonRoot` by it.
fn user(user: &str) -> (Option<v1::Int64Value>, String) {
    let name = user.split_once(':').map_or(user, |(name, _)| name);
    match name.parse() {
        Ok(value) => (Some(v1::Int64Value { value }), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

/// What something takes on the file system that `path` lies on.
pub fn filesystem(at: Timestamp, path: &Path, usage: ImageUsage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: at.nanos(),
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: path.display().to_string() }),
        used_bytes: Some(v1::UInt64Value { value: usage.bytes }),
        inodes_used: Some(v1::UInt64Value { value: usage.inodes }),
    }
}
