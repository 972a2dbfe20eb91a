//! What is typed, or comes from a pipe, read on a thread of its own: a read of stdin waits until there is something, and
//! this program must be able to end before.

use std::io::Read;

use tokio::sync::mpsc;

/// Read at a time, and chunks that wait.
const CHUNK_BYTES: usize = 32 * 1024;
const CHUNKS: usize = 4;

/// The bytes of stdin; the channel ends when stdin does.
pub fn read() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK_BYTES];
        // An error is an end as well: there is nobody to tell who could do more about it.
        while let Ok(count @ 1..) = stdin.read(&mut chunk) {
            if sender.blocking_send(chunk[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
