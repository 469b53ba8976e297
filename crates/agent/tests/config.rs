//! Configuration from files and flags, as a user meets it.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use agent::config::interfaces::InterfaceAddr;
use agent::config::{AgentFlags, ClientAddr, ConfigError, Loaded, Sources, load};
use clap::Parser;
use serde_json::{Value, json};

fn interface(name: &str, ip: &str) -> InterfaceAddr {
    let ip: IpAddr = ip.parse().expect("an address");
    InterfaceAddr {
        name: name.to_owned(),
        ip,
        prefix: 24,
        up: true,
        loopback: ip.is_loopback(),
        broadcast: true,
        multicast: true,
        point_to_point: false,
        default_route: name == "eth0",
    }
}

#[derive(Parser)]
#[command(args_override_self = true)]
struct Command {
    #[command(flatten)]
    flags: AgentFlags,
}

fn flags(args: &[&str]) -> AgentFlags {
    let all = std::iter::once("agent").chain(args.iter().copied());
    Command::try_parse_from(all).unwrap_or_else(|e| panic!("{args:?}: {e}")).flags
}

fn load_flags(flags: AgentFlags) -> Result<Loaded, ConfigError> {
    load(&Sources {
        flags,
        paths: Vec::new(),
        hostname: Some("host".to_owned()),
        interfaces: Some(vec![interface("lo", "127.0.0.1"), interface("eth0", "10.0.0.5")]),
    })
}

/// A configuration of text fragments, each its own source.
fn load_texts(texts: &[&str]) -> Result<Loaded, ConfigError> {
    load_flags(AgentFlags { hcl: texts.iter().map(|t| (*t).to_owned()).collect(), ..AgentFlags::default() })
}

/// With a data folder that need not exist.
fn good(text: &str) -> Loaded {
    load_texts(&["data_dir = \"/no/such/dir\"", text]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn bad(text: &str) -> String {
    match load_texts(&["data_dir = \"/no/such/dir\"", text]) {
        Ok(loaded) => panic!("{text} was accepted with warnings {:?}", loaded.warnings),
        Err(e) => e.to_string(),
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    fs::write(path, text).expect("file");
}

#[test]
fn templates_stand_in_lists_of_addresses_too() {
    let text = r#"
        retry_join = ["provider=aws tag_key=a", "{{ GetPrivateIP }}", "{{ GetInterfaceIP \"none\" }}", "h:8399"]
        retry_join_wan = ["{{ GetInterfaceIP \"eth0\" }}:8302 10.0.0.9"]
        start_join = ["{{ GetPrivateIP }}:8399"]
        recursors = ["{{ GetPrivateIP }}", "10.0.0.53", "10.0.0.5"]
    "#;
    let config = good(text).config;
    assert_eq!(config.join.retry_lan, ["provider=aws tag_key=a", "10.0.0.5", "h:8399"]);
    assert_eq!(config.join.retry_wan, ["10.0.0.5:8302", "10.0.0.9"]);
    assert_eq!(config.join.start_lan, ["10.0.0.5:8399"]);
    assert_eq!(config.dns.recursors, ["10.0.0.5", "10.0.0.53"]);
    assert!(bad("start_join_wan = [\"{{ Nonsense }}\"]").contains("start_join_wan: error parsing"));
}

#[test]
fn nothing_said_is_a_client_with_the_usual_values() {
    let Loaded { config, warnings } = good("");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.node_name, "host");
    assert_eq!(config.datacenter, "dc1");
    assert_eq!(config.primary_datacenter, "dc1");
    assert_eq!(config.dns.domain, "consul.");
    assert!(!config.server && config.leave_on_terminate && !config.skip_leave_on_interrupt);
    assert_eq!(config.net.bind_addr.to_string(), "0.0.0.0");
    assert_eq!(config.net.advertise_lan.to_string(), "10.0.0.5");
    assert_eq!(config.net.rpc_bind.to_string(), "0.0.0.0:8300");
    assert_eq!(config.net.serf_lan_advertise.to_string(), "10.0.0.5:8301");
    assert_eq!(config.net.http.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp://127.0.0.1:8500"]);
    assert!(config.net.https.is_empty() && config.net.grpc.is_empty());
    assert_eq!(config.raft.election_timeout, Duration::from_secs(5));
    assert_eq!(config.raft.snapshot_threshold, 16384);
    assert_eq!(config.limits.kv_max_value_size, 524_288);
    assert!(config.limits.rpc_rate.is_infinite());
    assert_eq!(config.max_query_time, Duration::from_secs(600));
    assert_eq!(config.acl.default_policy, "allow");
    assert!(config.dns.node_meta_txt && config.dns.allow_stale && config.disable_remote_exec);
    assert_eq!(config.ui.content_path, "/ui/");
    assert_eq!(
        config.net.tagged_addresses,
        BTreeMap::from(
            [("lan", "10.0.0.5"), ("lan_ipv4", "10.0.0.5"), ("wan", "10.0.0.5"), ("wan_ipv4", "10.0.0.5")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        )
    );
}

#[test]
fn development_mode_is_a_server_without_a_folder() {
    let Loaded { config, .. } = load_flags(flags(&["--dev"])).expect("valid");
    assert!(config.dev_mode && config.server && config.enable_debug && config.ui.enabled);
    assert!(config.connect.enabled && config.disable_anonymous_signature && config.disable_keyring_file);
    assert_eq!(config.data_dir, None);
    assert_eq!(config.ports.grpc, Some(8502));
    assert_eq!(config.logging.level, "DEBUG");
    assert_eq!(config.net.bind_addr.to_string(), "127.0.0.1");
    assert_eq!(config.raft.election_timeout, Duration::from_millis(52));
}

#[test]
fn files_folders_and_flags_lie_on_each_other() {
    let dir = tempfile::tempdir().expect("folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    write(
        dir.path(),
        "d/10-a.hcl",
        "node_meta { x = \"a\" y = \"a\" }\ndns_config { node_ttl = \"5s\" }\nservice { name = \"from-a\" }\nrecursors = [\"127.0.9.1\"]\n",
    );
    write(
        dir.path(),
        "d/20-b.json",
        r#"{"node_meta": {"y": "b", "z": "b"}, "dns_config": {"only_passing": true, "node_ttl": "6s"},
            "services": [{"name": "from-b"}], "recursors": ["127.0.9.2"], "retry_max": null}"#,
    );
    write(dir.path(), "d/notes.txt", "not a configuration");
    write(dir.path(), "d/sub/ignored.json", r#"{"node_meta": {"sub": "read"}}"#);
    write(
        dir.path(),
        "last.json",
        r#"{"node_meta": {"z": "last"}, "dns_config": {"node_ttl": "7s"}, "data_dir": "/none"}"#,
    );
    let flags = flags(&[
        "--config-dir",
        &at("d"),
        "--config-file",
        &at("last.json"),
        "--node-meta=f:flag",
        "--node-meta=g:with:colon",
        "--recursor=127.0.9.3",
        "--hcl=log_level = \"warn\"",
    ]);
    let Loaded { config, warnings } = load_flags(flags).expect("valid");
    let meta: Vec<_> = config.node_meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(meta, ["f=flag", "g=with:colon", "x=a", "y=b", "z=last"]);
    assert_eq!(config.dns.node_ttl, Duration::from_secs(7));
    assert!(config.dns.only_passing);
    assert_eq!(config.dns.recursors, ["127.0.9.3", "127.0.9.1", "127.0.9.2"]);
    assert_eq!(config.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["from-a", "from-b"]);
    assert_eq!(config.logging.level, "warn");
    let skipped = at("d/notes.txt");
    assert_eq!(
        warnings,
        [format!("skipping file {skipped}, extension must be .hcl or .json, or config format must be set")]
    );
}

#[test]
fn the_last_path_wins_whichever_flag_named_it() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), "one/a.hcl", "datacenter = \"one\" data_dir = \"/none\"");
    write(dir.path(), "two.hcl", "datacenter = \"two\"");
    let one = dir.path().join("one").display().to_string();
    let two = dir.path().join("two.hcl").display().to_string();
    let of = |args: [&str; 4]| load_flags(flags(&args)).expect("valid").config.datacenter;
    assert_eq!(of(["--config-dir", &one, "--config-file", &two]), "two");
    assert_eq!(of(["--config-file", &two, "--config-dir", &one]), "one");
}

#[test]
fn a_format_may_be_forced() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), "noext", "data_dir = \"/opt/consul\"");
    let path = dir.path().join("noext").display().to_string();
    assert!(load_flags(flags(&["--config-file", &path, "--config-format=hcl"])).is_ok());
    let error = load_flags(flags(&["--config-file", &path])).expect_err("skipped");
    assert_eq!(error.to_string(), "data_dir cannot be empty");
    let error =
        load_flags(flags(&["--config-file", &path, "--config-format=toml"])).expect_err("no such format");
    assert_eq!(error.to_string(), "-config-format must be either 'hcl' or 'json'");
}

#[test]
fn flags_in_gos_manner() {
    let f = flags(&[
        "--server",
        "--bootstrap-expect=-1",
        "--ui=false",
        "--node=a",
        "--node=b",
        "--join=1.1.1.1",
        "--join=2.2.2.2",
        "--rejoin=1",
        "--serf-wan-port",
        "-1",
    ]);
    assert_eq!(f.server, Some(true));
    assert_eq!(f.bootstrap_expect, Some(-1));
    assert_eq!(f.ui, Some(false));
    assert_eq!(f.node.as_deref(), Some("b"));
    assert_eq!(f.join, ["1.1.1.1", "2.2.2.2"]);
    assert_eq!(f.rejoin, Some(true));
    assert_eq!(f.serf_wan_port, Some(-1));
    assert!(Command::try_parse_from(["agent", "--server=maybe"]).is_err());
    assert!(Command::try_parse_from(["agent", "--no-such-flag"]).is_err());
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("no_such_key = 1", "invalid config key no_such_key"),
        ("ports { htpp = 1 }", "invalid config key ports.htpp"),
        ("a_a = 1 b_b = 2", "2 errors occurred:\n\t* invalid config key a_a\n\t* invalid config key b_b"),
        ("ports { http = \"abc\" }", "'ports.http' expected type 'int', got unconvertible type 'string'"),
        ("server = \"true\"", "'server' expected type 'bool', got unconvertible type 'string'"),
        ("node_name = 1", "'node_name' expected type 'string', got unconvertible type 'int'"),
        ("recursors = \"a\"", "'recursors': source data must be an array or slice, got string"),
        ("recursors = [1]", "'recursors[0]' expected type 'string', got unconvertible type 'int'"),
        ("service { name = \"a\" }\nservice { name = \"b\" }", "'service' expected a map, got 'slice'"),
        ("ports { http = 1 }\nports { dns = 2 }", "'ports' expected a map, got 'slice'"),
        (
            "retry_interval = \"soon\"",
            "retry_interval: invalid duration: \"soon\": time: invalid duration \"soon\"",
        ),
        ("check { id = \"c\" interval = \"x\" }", "check[c].interval: invalid duration: \"x\""),
        (
            "datacenter = \"a b\"",
            "datacenter can only contain lowercase alphanumeric, - or _ characters. received: \"a b\"",
        ),
        ("datacenter = \"\"", "datacenter cannot be empty"),
        ("bootstrap_expect = 3", "'bootstrap_expect > 0' requires 'server = true'"),
        ("bootstrap = true", "'bootstrap = true' requires 'server = true'"),
        (
            "server = true bootstrap = true bootstrap_expect = 3",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (
            "server = true bootstrap_expect = -1",
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        ("encrypt = \"short\"", "encrypt has invalid key"),
        ("encrypt = \"tooshort\"", "encrypt has invalid key: key size must be 16, 24 or 32 bytes"),
        ("bind_addr = \"0.0.0.0.0\"", "bind_addr: invalid ip address: 0.0.0.0.0"),
        ("bind_addr = \"127.0.0.1 127.0.0.2\"", "bind_addr cannot contain multiple addresses"),
        ("bind_addr = \"unix:///x\"", "bind_addr cannot be a unix socket"),
        ("bind_addr = \"{{ GetInterfaceIP \\\"lo\\\" }}\"", "bind_addr: no address found for"),
        ("bind_addr = \"{{ GetNoSuchThing }}\"", "bind_addr: error parsing"),
        ("advertise_addr = \"0.0.0.0\"", "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr_wan = \"::\"", "Advertise WAN address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr_ipv4 = \"::1\"", "advertise_addr_ipv4 must be an ipv4 address"),
        ("addresses { dns = \"unix:///x\" }", "DNS address cannot be a unix socket"),
        ("recursors = [\"0.0.0.0\"]", "DNS recursor address cannot be 0.0.0.0, :: or [::]"),
        ("recursors = [\"x y\"]", "recursors: \"x y\" is not an address"),
        ("recursors = [\"8.8.8.8:99999\"]", "recursors: \"8.8.8.8:99999\" is not an address"),
        (
            "alt_domain = \"service.example\"",
            "alt_domain cannot start with {service,connect,node,query,addr,dc1}",
        ),
        ("node_meta { consul-x = \"1\" }", "Key prefix 'consul-' is reserved for internal use"),
        (
            "dns_config { udp_answer_limit = -1 }",
            "dns_config.udp_answer_limit cannot be -1. Must be greater than or equal to zero",
        ),
        (
            "server = true performance { raft_multiplier = 20 }",
            "performance.raft_multiplier cannot be 20. Must be between 1 and 10",
        ),
        ("ports { dns = 8500 }", "HTTP address 127.0.0.1:8500 already configured for DNS"),
        ("ports { http = 70000 }", "ports.http: invalid port: 70000"),
        ("check_output_max_size = 0", "check_output_max_size must be positive"),
        ("http_config { allow_write_http_from = [\"x\"] }", "allow_write_http_from: invalid cidr: x"),
        ("node_id = \"not-a-uuid\"", "node_id \"not-a-uuid\" is not a valid UUID"),
        ("ui_config { content_path = \"/a b/\" }", "ui-content-path can only contain alphanumeric"),
        ("ui_config { content_path = \"/v1/\" }", "ui-content-path cannot have 'v[0-9]'"),
        (
            "service { name = \"w\" weights { passing = 0 } }",
            "Invalid weight definition for service w: Passing must be greater than 0",
        ),
        ("auto_encrypt { allow_tls = true }", "auto_encrypt.allow_tls can only be used on a server."),
        ("server = ", "failed to parse flag-1.hcl: At 1:10: Unknown token: EOF"),
    ];
    for (text, want) in cases {
        let error = bad(text);
        assert!(error.contains(want), "{text}\n wanted {want}\n    got {error}");
    }
}

#[test]
fn a_missing_or_wrong_file_is_named() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), "file", "");
    write(dir.path(), "bad.json", "{\"data_dir\": ");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let of = |args: &[&str]| load_flags(flags(args)).expect_err("wrong").to_string();
    let missing = at("missing.json");
    assert_eq!(
        of(&["--config-file", &missing]),
        format!("config: Open failed on {missing}. no such file or directory")
    );
    assert!(
        of(&["--config-file", &at("bad.json")])
            .starts_with(&format!("failed to parse {}: At 1:", at("bad.json")))
    );
    assert_eq!(of(&["--data-dir", &at("file")]), format!("data_dir {:?} is not a directory", at("file")));
    assert_eq!(of(&["--server"]), "data_dir cannot be empty");
    assert_eq!(of(&["--dev", "--bootstrap-expect=3"]), "'bootstrap_expect > 0' not allowed in dev mode");
}

#[test]
fn odd_values_that_the_reference_takes() {
    for text in [
        "acl { default_policy = \"maybe\" }",
        "service { port = 80 }",
        "check { name = \"c\" }",
        "ports { server = 0 }",
        "node_name = \"\"",
        "NODE_NAME = \"x\"",
        "ports = [{ http = 8501 }]",
        "http_config { response_headers { \"Access-Control-Allow-Origin\" = \"*\" } }",
    ] {
        assert_eq!(good(text).warnings, Vec::<String>::new(), "{text}");
    }
    assert_eq!(good("DATACENTER = \"DC-One\"").config.datacenter, "dc-one");
    assert_eq!(good("ports { dns = -1 http = 0 }").config.ports.dns, None);
    assert!(good("ports { dns = -1 }").config.net.dns.is_empty());
}

#[test]
fn warnings_name_what_they_mean() {
    let cases = [
        (
            "server = true bootstrap_expect = 1",
            "BootstrapExpect is set to 1; this is the same as Bootstrap mode.",
        ),
        ("server = true bootstrap_expect = 3", "bootstrap_expect > 0: expecting 3 servers"),
        (
            "server = true bootstrap_expect = 2",
            "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance.",
        ),
        ("server = true bootstrap_expect = 4", "bootstrap_expect is even number:"),
        ("server = true bootstrap = true", "bootstrap = true: do not enable unless necessary"),
        (
            "node_name = \"a.b\"",
            "Node name \"a.b\" will not be discoverable via DNS due to invalid characters.",
        ),
        (
            "acl_datacenter = \"DC2\"",
            "The 'acl_datacenter' field is deprecated. Use the 'primary_datacenter' field instead.",
        ),
        ("ui = true", "The 'ui' field is deprecated. Use the 'ui_config.enabled' field instead."),
        ("segment = \"a\"", "\"segment\" is a Consul Enterprise configuration and will have no effect"),
        (
            "verify_incoming = true",
            "config key \"verify_incoming\" is accepted but has no effect in this version",
        ),
        ("ports { grpc = 8502 }", "config key \"ports.grpc\" is accepted but has no effect in this version"),
        ("ae_interval = \"1s\"", "config key \"ae_interval\" cannot be set by users and is ignored"),
        (
            "enable_script_checks = true",
            "using enable-script-checks without ACLs and without allow_write_http_from is DANGEROUS",
        ),
        ("telemetry { prefix_filter = [\"x\"] }", "Filter rule must begin with either '+' or '-': \"x\""),
    ];
    for (text, want) in cases {
        let warnings = good(text).warnings;
        assert!(warnings.iter().any(|w| w.starts_with(want)), "{text}\n wanted {want}\n    got {warnings:?}");
    }
    let config = good("acl_datacenter = \"DC2\" acl_token = \"t\" acl { tokens { agent = \"a\" } } acl_agent_token = \"old\"").config;
    assert_eq!(config.primary_datacenter, "dc2");
    assert!(config.acl.enabled);
    assert_eq!((config.acl.tokens.default.as_str(), config.acl.tokens.agent.as_str()), ("t", "a"));
    assert_eq!(good("ae_interval = \"1s\"").config.ae_interval, Duration::from_secs(60));
}

#[test]
fn addresses() {
    let config = good(
        "client_addr = \"127.0.0.1 unix:///run/c.sock {{ GetPrivateIP }}\" ports { dns = -1 https = 8501 } \
         addresses { https = \"0.0.0.0\" } advertise_addr_wan = \"198.51.100.7\" serf_wan = \"127.0.0.9\" \
         tagged_addresses { other = \"10.9.9.9\" } advertise_addr_ipv6 = \"2001:db8::1\"",
    )
    .config;
    let shown = |list: &[agent::config::Listen]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown(&config.net.http),
        ["tcp://127.0.0.1:8500", "unix:///run/c.sock", "tcp://10.0.0.5:8500"]
    );
    assert_eq!(shown(&config.net.https), ["tcp://0.0.0.0:8501"]);
    assert_eq!(config.net.client_addrs.len(), 3);
    assert_eq!(config.net.client_addrs[0], ClientAddr::Ip([127, 0, 0, 1].into()));
    assert_eq!(config.net.serf_wan_bind.map(|a| a.to_string()).as_deref(), Some("127.0.0.9:8302"));
    assert_eq!(config.net.serf_wan_advertise.map(|a| a.to_string()).as_deref(), Some("198.51.100.7:8302"));
    let tags: Vec<_> = config.net.tagged_addresses.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        tags,
        [
            "lan=10.0.0.5",
            "lan_ipv4=10.0.0.5",
            "lan_ipv6=2001:db8::1",
            "other=10.9.9.9",
            "wan=198.51.100.7",
            "wan_ipv4=198.51.100.7",
            "wan_ipv6=2001:db8::1"
        ]
    );
    assert_eq!(good("ports { serf_wan = -1 }").config.net.serf_wan_bind, None);
    let v6 = good("bind_addr = \"[::1]\"").config;
    assert_eq!(v6.net.rpc_advertise.to_string(), "[::1]:8300");
}

#[test]
fn services_and_checks_are_typed() {
    let config = good(
        r#"
        service {
          name = "three"
          port = 3
          meta { k = "v" }
          tagged_addresses { lan { address = "10.0.0.3" port = 33 } }
          weights { passing = 5 }
          EnableTagOverride = true
          check { id = "c3" ttl = "1m" status = "passing" DeregisterCriticalServiceAfter = "90m" }
          checks = [ { ScriptArgs = ["a", "b"], interval = "10s", TLSSkipVerify = true, header { X = ["1", "2"] } } ]
          connect { sidecar_service { port = 9 proxy { upstreams = [ { destination_name = "db" local_bind_port = 1 } ]
            config { a = 1 nested { b = [1, 2] } } } } }
        }
        check { id = "nc" name = "nc" ttl = "30s" notes = "n" service_id = "three" }
        "#,
    )
    .config;
    let service = &config.services[0];
    assert_eq!((service.name.as_str(), service.port, service.enable_tag_override), ("three", 3, true));
    assert_eq!(service.tagged_addresses["lan"].port, 33);
    let weights = service.weights.as_ref().expect("weights");
    assert_eq!((weights.passing, weights.warning), (5, 1));
    assert_eq!(service.check.check_id, "c3");
    assert_eq!(service.check.ttl.to_std(), Duration::from_secs(60));
    assert_eq!(service.check.deregister_critical_service_after.to_std(), Duration::from_secs(5400));
    assert_eq!(service.checks[0].script_args, ["a", "b"]);
    assert!(service.checks[0].tls_skip_verify);
    assert_eq!(service.checks[0].header["X"], ["1", "2"]);
    let sidecar = service.connect.as_ref().and_then(|c| c.sidecar_service.as_ref()).expect("sidecar");
    let proxy = sidecar.proxy.as_ref().expect("proxy");
    assert_eq!(proxy.upstreams[0].destination_name, "db");
    assert_eq!(proxy.config["nested"], json!({"b": [1, 2]}));
    assert_eq!(config.checks[0].check.check_id, "nc");
    assert_eq!(config.checks[0].service_id, "three");
}

/// A value of the type that the list of keys gives.
fn sample(key: &str, kind: &str) -> Value {
    match kind {
        "bool" => json!(true),
        "int" if key.ends_with("protocol") => json!(3),
        "int" | "uint" | "uint32" | "uint64" => json!(1),
        "float64" => json!(1.5),
        "[]string" if key.contains("cidrs") || key.contains("allow_write") => json!(["10.0.0.0/8"]),
        "[]string" if key.ends_with("prefix_filter") => json!(["+x"]),
        "[]string" => json!(["10.0.0.1"]),
        "map[string]string" => json!({"k": if key.contains("ttl") { "1s" } else { "http://x" }}),
        "map[string][]string" => json!({"k": ["v"]}),
        "map[string]interface{}" => json!({"k": 1}),
        "[]map[string]interface{}" => json!([{"k": 1}]),
        "ServiceDefinition" => json!({"name": "x"}),
        "string" => json!(text_sample(key)),
        other => panic!("{key} has the unknown type {other}"),
    }
}

fn text_sample(key: &str) -> &'static str {
    let last = key.rsplit('.').next().unwrap_or(key);
    let duration = [
        "ttl",
        "interval",
        "timeout",
        "period",
        "threshold",
        "_time",
        "max_stale",
        "duration",
        "refresh",
        "leeway",
    ]
    .iter()
    .any(|part| last.contains(part))
        || ["cache_max_age", "session_ttl_min", "discovery_max_stale", "deregister_critical_service_after"]
            .contains(&last)
        || last.starts_with("check_");
    let address = ["bind_addr", "advertise_addr", "client_addr", "serf_lan", "serf_wan"]
        .iter()
        .any(|p| key.starts_with(p))
        || key.starts_with("addresses.");
    if key.starts_with("advertise_addr") && key.ends_with("ipv6") {
        "2001:db8::1"
    } else if address {
        "127.0.0.7"
    } else if duration {
        "11s"
    } else {
        match last {
            "encrypt" => "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "node_id" => "0a0b0c0d-0000-4000-8000-0000000000ff",
            "base_url" => "http://x",
            "metrics_provider_options_json" => "{}",
            "content_path" | "ui_content_path" => "/x/",
            "data_dir" => "/no/such/dir",
            "acl_datacenter" | "datacenter" | "primary_datacenter" => "dc9",
            _ => "x",
        }
    }
}

/// `a.b[].c{}.d` with a value, as nested JSON.
fn nested(key: &str, value: Value) -> Value {
    // The only key that has a dot inside.
    let key = key.replace("disable_compat_1.9", "disable_compat_1\u{0}9");
    key.rsplit('.').fold(value, |inner, part| {
        let part = part.replace('\u{0}', ".");
        if let Some(name) = part.strip_suffix("[]") {
            json!({ name: [inner] })
        } else if let Some(name) = part.strip_suffix("{}") {
            json!({ name: {"user": inner} })
        } else {
            json!({ part: inner })
        }
    })
}

/// Every key of the reference is understood, and what it says changes the
/// configuration or is answered with a warning that names it.
#[test]
fn every_key_is_honoured_or_warned_about() {
    let dir = tempfile::tempdir().expect("folder");
    let read = |text: &Value| {
        let path = dir.path().join("one.json");
        fs::write(&path, text.to_string()).expect("file");
        load_flags(AgentFlags { config_files: vec![path], ..AgentFlags::default() })
    };
    let mut silent = Vec::new();
    let mut seen = 0;
    for line in include_str!("data/config-keys.tsv").lines() {
        let (key, kind) = line.split_once('\t').expect("key and type");
        seen += 1;
        if key == "raft_protocol" {
            // There is only one to choose; any other is refused by name.
            assert!(bad("raft_protocol = 2").contains("raft_protocol"));
            continue;
        }
        let mut loaded = None;
        for (server, flip) in [(false, false), (true, false), (false, true)] {
            let value = if flip && kind == "bool" { json!(false) } else { sample(key, kind) };
            let mut text = nested(key, value);
            let mut base = json!({});
            for text in [&mut text, &mut base] {
                let map = text.as_object_mut().expect("an object");
                map.entry("data_dir").or_insert(json!("/none"));
                map.entry("server").or_insert(json!(server));
                let ports = map.entry("ports").or_insert(json!({})).as_object_mut().expect("an object");
                ports.entry("https").or_insert(json!(8501));
                ports.entry("grpc").or_insert(json!(8502));
            }
            let base = read(&base).expect("valid");
            match read(&text) {
                Err(e) => loaded = loaded.or(Some(Err(format!("{key}: {e}")))),
                Ok(with) => {
                    let name = key.split(['[', '{']).next().unwrap_or(key);
                    let warned = with.warnings.iter().any(|w| {
                        w.contains(&format!("{name:?}"))
                            || w.contains(&format!("'{name}'"))
                            || name.rsplit_once('.').is_some_and(|(parent, _)| {
                                parents(parent).any(|p| w.contains(&format!("{p:?}")))
                            })
                    });
                    let changed = with.config != base.config;
                    if changed || warned {
                        loaded = Some(Ok(()));
                        break;
                    }
                    loaded = Some(Err(format!("{key}: neither changed anything nor warned")));
                }
            }
        }
        if let Some(Err(e)) = loaded {
            silent.push(e);
        }
    }
    assert_eq!(seen, 530, "the list of keys is complete");
    assert_eq!(silent, Vec::<String>::new());
}

/// `a.b.c`, `a.b`, `a`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| p.rsplit_once('.').map(|(up, _)| up))
}

#[test]
fn a_reload_takes_what_it_can() {
    let old = good("node_meta { v = \"1\" } dns_config { node_ttl = \"1s\" } log_level = \"INFO\"").config;
    let new = good(
        "node_meta { v = \"2\" } dns_config { node_ttl = \"9s\" } log_level = \"WARN\" datacenter = \"dc2\"",
    )
    .config;
    let diff = old.reloadable_diff(&new);
    assert_eq!(diff.reloaded, ["node_meta", "log_level", "dns_config.node_ttl"]);
    assert_eq!(diff.needs_restart, ["datacenter", "primary_datacenter"]);
    assert_eq!(
        diff.warnings()[0],
        "config key \"datacenter\" has changed, which takes effect only after a restart"
    );
    assert_eq!(old.reloadable_diff(&old), Default::default());
}

#[test]
fn shown_to_clients_without_secrets() {
    let config = good(
        "acl { tokens { master = \"s3cret\" } } encrypt = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\" \
         service { name = \"a\" token = \"s3cret\" } check { name = \"c\" ttl = \"1s\" token = \"s3cret\" } \
         ports { dns = -1 } domain = \"my.zone.\" dns_config { node_ttl = \"4s\" } pid_file = \"/run/x.pid\"",
    )
    .config;
    let shown = config.debug_json();
    for (field, want) in [
        ("ACLMasterToken", json!("hidden")),
        ("EncryptKey", json!("hidden")),
        ("DNSPort", json!(-1)),
        ("GRPCPort", json!(-1)),
        ("HTTPPort", json!(8500)),
        ("DNSDomain", json!("my.zone.")),
        ("DNSNodeTTL", json!("4s")),
        ("HTTPAddrs", json!(["tcp://127.0.0.1:8500"])),
        ("PidFile", json!("/run/x.pid")),
        ("ServerMode", json!(false)),
        ("SerfPortWAN", json!(8302)),
    ] {
        assert_eq!(shown[field], want, "{field}");
    }
    assert_eq!(shown["Logging"]["LogLevel"], "INFO");
    assert!(!shown.to_string().contains("s3cret"));
    assert!(!shown.to_string().contains("MDEy"));
    let logged = format!("{:?} {:?}", config.acl, config.encrypt);
    assert!(!logged.contains("s3cret") && !logged.contains("[48"), "{logged}");
}
