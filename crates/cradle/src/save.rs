//! `cradle save`: images as an archive, written as the daemon sends it. A file appears when it is whole, and not before.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cradle_cri_api::cradle_v1::SaveRequest;

use crate::arguments::Save;
use crate::client::Client;
use crate::error::Error;
use crate::interrupts::Interrupts;

pub async fn save(client: &mut Client, save: &Save) -> Result<ExitCode, Error> {
    let mut interrupts = Interrupts::listen()?;
    let images = ids(client, &save.images).await?;
    match &save.output {
        None if io::stdout().is_terminal() => {
            return Err(Error::local("an archive is nothing for a terminal: give --output, or lead stdout elsewhere"));
        }
        None => interrupts.unless(receive(client, images, &mut io::stdout().lock())).await?,
        Some(path) => {
            let mut file = Unfinished::create(path)?;
            interrupts.unless(receive(client, images, &mut file.file)).await?;
            file.finish(path)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon knows the images by: names as they are, beginnings of ids as whole ones.
async fn ids(client: &mut Client, names: &[String]) -> Result<Vec<String>, Error> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let none = || Error::local(format!("there is no image {name:?}: cradle images lists all"));
        let image = client.image(name).await?.ok_or_else(none)?;
        let is_id = image.id.trim_start_matches("sha256:").starts_with(name.trim_start_matches("sha256:"));
        ids.push(if is_id { image.id } else { name.clone() });
    }
    Ok(ids)
}

async fn receive(client: &mut Client, images: Vec<String>, output: &mut impl Write) -> Result<(), Error> {
    let answer = client.cradle.save(SaveRequest { images }).await.map_err(of_save)?;
    let mut archive = answer.into_inner();
    while let Some(piece) = archive.message().await? {
        output.write_all(&piece.data).map_err(Error::Output)?;
    }
    output.flush().map_err(Error::Output)
}

fn of_save(status: tonic::Status) -> Error {
    let error = Error::from(status);
    if error.is_unimplemented() { Error::local("the daemon at this socket gives out no archives") } else { error }
}

/// A file beside the one that it is to become; dropping it removes it.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        match File::create(&partial) {
            Ok(file) => Ok(Unfinished { file, path: partial }),
            Err(error) => Err(Error::Local(format!("cannot write {}: {error}", partial.display()))),
        }
    }

    fn finish(self, path: &Path) -> Result<(), Error> {
        let renamed = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, path));
        renamed.map_err(|error| Error::Local(format!("cannot write {}: {error}", path.display())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` there is none of this name any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut given_up = Unfinished::create(&path).unwrap();
        given_up.file.write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut whole = Unfinished::create(&path).unwrap();
        whole.file.write_all(b"whole").unwrap();
        whole.finish(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
