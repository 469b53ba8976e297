//! `tls …`: certificates for agents, made with files only.

mod ca;
mod cert;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{CertificateParams, KeyPair};

use crate::command::{Command, Failure, OrFail};
use crate::ui;

/// The commands of this folder.
pub const COMMANDS: [Command; 5] = [
    Command::group(
        "tls",
        "Makes certificates for agents",
        "Makes a certificate authority and certificates for agents and users, as files.",
    ),
    Command::group("tls ca", "The certificate authority", "Makes a certificate authority."),
    ca::COMMAND,
    Command::group("tls cert", "Certificates", "Makes certificates signed by the certificate authority."),
    cert::COMMAND,
];

/// A P-256 key and its PEM in the traditional form (RFC 5915).
fn new_key() -> Result<(KeyPair, String), Failure> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).or_fail("cannot make a key")?;
    let der: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().or_fail("cannot encode the key")?;
    let mut pem = String::from("-----BEGIN EC PRIVATE KEY-----\n");
    let text = BASE64_STANDARD.encode(der.as_ref());
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END EC PRIVATE KEY-----\n");
    let pair = KeyPair::from_pem(&pem).or_fail("cannot use the key")?;
    Ok((pair, pem))
}

/// A positive number of 127 bits.
fn new_serial() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::new("cannot read random data"))?;
    Ok((u128::from_be_bytes(bytes) >> 1) | 1)
}

/// Valid from now on.
fn set_validity(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let start = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    params.not_before = start;
    params.not_after = start + Duration::from_secs(days.saturating_mul(86_400));
}

/// Writes a file that must not be there yet.
fn write_new(path: &str, content: &str, mode: u32) -> Result<(), Failure> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| {
            match e.kind() {
                std::io::ErrorKind::AlreadyExists => Failure::new(format!("{path} already exists.")),
                _ => Failure::new(format!("{path}: {e}")),
            }
        })?;
    file.write_all(content.as_bytes()).or_fail(path)?;
    ui::line(format_args!("==> Saved {path}"));
    Ok(())
}
