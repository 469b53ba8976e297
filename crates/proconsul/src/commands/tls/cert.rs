//! `tls cert create`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};

use super::{new_key, new_serial, set_validity, write_new};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("additional-dnsname", Kind::List, "Another DNS name. May be repeated."),
    Flag::new("additional-ipaddress", Kind::List, "Another IP address. May be repeated."),
    Flag::new("ca", Kind::Text, "The authority's certificate.").or("#DOMAIN#-agent-ca.pem"),
    Flag::new("cli", Kind::Switch, "For a user of commands and the HTTP API."),
    Flag::new("client", Kind::Switch, "For a client agent."),
    Flag::new("days", Kind::Uint, "How long the certificate is valid.").or("365"),
    Flag::new("dc", Kind::Text, "The agent's datacenter.").or("dc1"),
    Flag::new("domain", Kind::Text, "The cluster's domain.").or("consul"),
    Flag::new("key", Kind::Text, "The authority's key.").or("#DOMAIN#-agent-ca-key.pem"),
    Flag::new("node", Kind::Text, "With -server: the node's name, for a certificate of its own."),
    Flag::new("server", Kind::Switch, "For a server agent."),
];

/// `tls cert create`.
pub const COMMAND: Command = Command {
    name: "tls cert create",
    synopsis: "Makes a certificate",
    usage: "[options]",
    about: "Makes a certificate and its key for a server, a client agent or a user. The files are named\n<dc>-<role>-<domain>-<n>.pem and <dc>-<role>-<domain>-<n>-key.pem.",
    flags: &[FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// Who a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
    Cli,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Cli => "cli",
        }
    }
}

async fn run(parsed: Parsed) -> Outcome {
    let role = match (parsed.on("server"), parsed.on("client"), parsed.on("cli")) {
        (true, false, false) => Role::Server,
        (false, true, false) => Role::Client,
        (false, false, true) => Role::Cli,
        _ => return Err(Failure::new("Please provide either -server, -client, or -cli")),
    };
    if !parsed.text("node").is_empty() && role != Role::Server {
        return Err(Failure::new("-node requires -server"));
    }
    let (domain, dc) = (parsed.text("domain"), parsed.text("dc"));
    let ca_path = parsed.text("ca").replace("#DOMAIN#", domain);
    let ca_key_path = parsed.text("key").replace("#DOMAIN#", domain);
    let params = params(&parsed, role, new_serial()?)?;
    let read = |path: &str| std::fs::read_to_string(path).or_fail(&format!("Error reading {path}"));
    let ca_key = KeyPair::from_pem(&read(&ca_key_path)?).or_fail(&format!("Error reading {ca_key_path}"))?;
    let issuer =
        Issuer::from_ca_cert_pem(&read(&ca_path)?, ca_key).or_fail(&format!("Error reading {ca_path}"))?;
    if role == Role::Server {
        ui::line(
            "==> WARNING: Server Certificates grants authority to become a\n    \
             server and access all state in the cluster including root keys\n    \
             and all ACL tokens. Do not distribute them to production hosts\n    \
             that are not server nodes. Store them as securely as CA keys.",
        );
    }
    ui::line(format_args!("==> Using {ca_path} and {ca_key_path}"));
    let (key, key_pem) = new_key()?;
    let cert = params.signed_by(&key, &issuer).or_fail("cannot make the certificate")?;
    let prefix = format!("{dc}-{}-{domain}", role.name());
    let free = |n: &u32| {
        !Path::new(&format!("{prefix}-{n}.pem")).exists()
            && !Path::new(&format!("{prefix}-{n}-key.pem")).exists()
    };
    let n = (0..).find(free).unwrap_or_default();
    write_new(&format!("{prefix}-{n}.pem"), &cert.pem(), 0o644)?;
    write_new(&format!("{prefix}-{n}-key.pem"), &key_pem, 0o600)?;
    Ok(0)
}

fn params(parsed: &Parsed, role: Role, serial: u128) -> Result<CertificateParams, Failure> {
    let common = format!("{}.{}.{}", role.name(), parsed.text("dc"), parsed.text("domain"));
    let mut names = parsed.list("additional-dnsname").to_vec();
    if let Some(node) = parsed.given("node").filter(|n| !n.is_empty()) {
        names.push(format!("{node}.{common}"));
    }
    names.extend([common.clone(), "localhost".to_owned()]);
    let mut alternatives = Vec::new();
    for name in names {
        let dns = name.as_str().try_into().or_fail(&format!("{name:?} is no DNS name"))?;
        alternatives.push(SanType::DnsName(dns));
    }
    for address in parsed.list("additional-ipaddress") {
        let ip: IpAddr = address.parse().or_fail(&format!("{address:?} is no IP address"))?;
        alternatives.push(SanType::IpAddress(ip));
    }
    if role != Role::Cli {
        alternatives.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.subject_alt_names = alternatives;
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    set_validity(&mut params, parsed.uint("days"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = match role {
        Role::Server => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        Role::Cli => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
