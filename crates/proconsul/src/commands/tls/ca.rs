//! `tls ca create`.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
    SerialNumber,
};

use super::{new_key, new_serial, set_validity, write_new};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};

const FLAGS: &[Flag] = &[
    Flag::new("additional-name-constraint", Kind::List, "Another name to allow, with -name-constraint."),
    Flag::new("cluster-id", Kind::Text, "Id of the cluster, put into the certificate's names."),
    Flag::new("common-name", Kind::Text, "Common name instead of the default."),
    Flag::new("days", Kind::Uint, "How long the certificate is valid.").or("1825"),
    Flag::new("domain", Kind::Text, "The cluster's domain.").or("consul"),
    Flag::new("name-constraint", Kind::Switch, "Only let it sign for the domain and localhost."),
];

/// `tls ca create`.
pub const COMMAND: Command = Command {
    name: "tls ca create",
    synopsis: "Makes a certificate authority",
    usage: "[options]",
    about: "Makes a certificate authority: <domain>-agent-ca.pem, to be given to all agents, and\n<domain>-agent-ca-key.pem, to be kept where certificates are made.",
    flags: &[FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let domain = parsed.text("domain");
    let (cert_path, key_path) = (format!("{domain}-agent-ca.pem"), format!("{domain}-agent-ca-key.pem"));
    for path in [&cert_path, &key_path] {
        if std::path::Path::new(path).exists() {
            return Err(Failure::new(format!("{path} already exists.")));
        }
    }
    let (key, key_pem) = new_key()?;
    let cert = params(&parsed, new_serial()?).self_signed(&key).or_fail("cannot make the certificate")?;
    write_new(&cert_path, &cert.pem(), 0o644)?;
    write_new(&key_path, &key_pem, 0o600)?;
    Ok(0)
}

fn params(parsed: &Parsed, serial: u128) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = match parsed.text("common-name") {
        "" => format!("Consul Agent CA {serial}"),
        name => name.to_owned(),
    };
    let dn = &mut params.distinguished_name;
    *dn = rcgen::DistinguishedName::new();
    dn.push(DnType::CountryName, "US");
    dn.push(DnType::CustomDnType(vec![2, 5, 4, 17]), "94105");
    dn.push(DnType::StateOrProvinceName, "CA");
    dn.push(DnType::LocalityName, "San Francisco");
    dn.push(DnType::CustomDnType(vec![2, 5, 4, 9]), "101 Second Street");
    dn.push(DnType::OrganizationName, "HashiCorp Inc.");
    dn.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    set_validity(&mut params, parsed.uint("days"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    if parsed.on("name-constraint") {
        let mut names = parsed.list("additional-name-constraint").to_vec();
        names.extend([parsed.text("domain").to_owned(), "localhost".to_owned()]);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.into_iter().map(GeneralSubtree::DnsName).collect(),
            excluded_subtrees: Vec::new(),
        });
    }
    params
}
