//! Which of an index's images runs here (OCI image-spec, image-index.md, Platform Variants).

use std::fmt;

/// An operating system and processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// As `v7` for arm and `v3` for amd64; empty: the architecture's base.
    pub variant: String,
}

impl Platform {
    /// The platform of this machine.
    pub fn of_this_machine() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", amd64_variant()),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "x86" => ("386", ""),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// How well an image for `image` runs here; none: not at all. The closest variant below our own is the best.
    pub fn rank(&self, image: &Platform) -> Option<u32> {
        let (image_architecture, image_variant) = normalised(image);
        let (architecture, variant) = normalised(self);
        if !self.os.eq_ignore_ascii_case(&image.os) || architecture != image_architecture {
            return None;
        }
        (image_variant <= variant).then_some(image_variant)
    }
}

/// Other names of architectures, and the variant as a number.
fn normalised(platform: &Platform) -> (String, u32) {
    let architecture = platform.architecture.to_ascii_lowercase();
    let architecture = match architecture.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" => "arm",
        "i386" => "386",
        other => other,
    };
    let default = match architecture {
        "arm64" => 8,
        "arm" => 7,
        "amd64" => 1,
        _ => 0,
    };
    let digits = platform.variant.trim_start_matches(['v', 'V']);
    // What we cannot read we cannot run.
    let variant = if digits.is_empty() { default } else { digits.parse().unwrap_or(u32::MAX) };
    (architecture.to_owned(), variant)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The level of the x86-64 psABI that this processor has.
#[cfg(target_arch = "x86_64")]
fn amd64_variant() -> &'static str {
    let v2 =
        is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt") && is_x86_feature_detected!("ssse3");
    let v3 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe");
    match (v2, v3) {
        (true, true) => "v3",
        (true, false) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_variant() -> &'static str {
    "v1"
}
