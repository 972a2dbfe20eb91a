//! Every bound of this crate: on sizes, on repetitions and on waits.

use std::time::Duration;

/// Largest manifest or index that is read (the size that registries must accept, OCI distribution-spec, Pushing
/// Manifests).
pub const MANIFEST_MAX_BYTES: usize = 4 << 20;
/// Largest answer of a token server.
pub const TOKEN_ANSWER_MAX_BYTES: usize = 256 << 10;
/// Largest body of an error, redirect or challenge that is read; a longer one costs its connection.
pub const ERROR_BODY_MAX_BYTES: usize = 16 << 10;
/// Longest text of a registry that is repeated in an error message.
pub const SAID_MAX_CHARS: usize = 200;
/// Largest head of a response.
pub const HEAD_MAX_BYTES: usize = 64 << 10;
/// Size up to which reads from a connection grow; a chunk of a blob has less than twice as many bytes. Larger ones take
/// memory and save no time: by then the kernel's copying is all that there is.
pub const READ_MAX_BYTES: usize = 128 << 10;
/// Largest `hosts.toml`.
pub const HOSTS_FILE_MAX_BYTES: u64 = 1 << 20;
/// Largest certificate or key file.
pub const CERTIFICATE_FILE_MAX_BYTES: u64 = 4 << 20;
/// Largest docker `config.json`.
pub const DOCKER_CONFIG_MAX_BYTES: u64 = 4 << 20;

/// Most hosts that one `hosts.toml` may name.
pub const HOSTS_MAX: usize = 64;
/// Most redirects that one request follows.
pub const REDIRECTS_MAX: usize = 10;
/// How often one host is asked for one thing before the next host is.
pub const ATTEMPTS_PER_HOST: u32 = 4;
/// How often one host is tried when the connection cannot even be made.
pub const CONNECT_ATTEMPTS_PER_HOST: u32 = 2;
/// Fewest bytes that a resumed transfer must bring for its failures to be forgotten; this bounds the number of resumptions
/// of one blob by its size.
pub const RESUME_MIN_BYTES: u64 = 32 << 10;
/// Fewest bytes within one progress timeout that count as progress.
pub const PROGRESS_MIN_BYTES: u64 = 4 << 10;
/// Idle connections kept for one origin.
pub const IDLE_PER_ORIGIN: usize = 8;
/// Tokens kept.
pub const TOKENS_MAX: usize = 512;
/// TLS configurations kept.
pub const TLS_SETUPS_MAX: usize = 64;

/// Default for the time within which bytes of a blob must arrive.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Default for the time within which a host must begin to answer when it is asked for a manifest or token.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time within which a manifest or a token must have arrived once its first byte has.
pub const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the rest of an uninteresting body, after which its connection is given up.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for looking whether a host sends more than a blob's size.
pub const SURPLUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Default for making a connection with its proxy and TLS handshakes (`dial_timeout` in `hosts.toml`).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a registry on the loopback interface that no file speaks of, where TLS is only a guess.
pub const LOOPBACK_DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before the next address of a host is tried beside the ones before (RFC 8305, section 5).
pub const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// Default for the pause before the first repetition; it doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest pause between repetitions that is not asked for by `Retry-After`.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest `Retry-After` that is waited for; a host that asks for more is left for the next one.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Time after which an idle connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Life of a token whose server names none (distribution token specification, `expires_in`).
pub const TOKEN_DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest life that is believed.
pub const TOKEN_MAX_LIFE: Duration = Duration::from_secs(3600);
/// A token is not used in the last part of its life.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(5);
