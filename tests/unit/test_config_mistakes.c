/* SPDX-License-Identifier: Apache-2.0 */
/* Mistakes in configurations, each with its place, and files that are not to be trusted. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "config/yaml.h"
#include "tests/unit/configs.h"

#define LETTERS_64 "abcdefghijklmnopabcdefghijklmnopabcdefghijklmnopabcdefghijklmnop"

static const struct {
	const char *text, *problems;
} mistakes[] = {
	{"idle-timout: 15s\n", "f:1:1: 'idle-timout': no such key; did you mean idle-timeout?\n"},
	{"frobnicate: 1\n",
	 "f:1:1: 'frobnicate': no such key; `flowtally config example` shows all\n"},
	{"interface: eth0\n", "f:1:1: 'interface': no such key; did you mean interfaces?\n"},
	{"config: /x\nset: a=b\n",
	 "f:1:1: 'config': no such key; `flowtally config example` shows all\n"
	 "f:2:1: 'set': no such key; `flowtally config example` shows all\n"},
	{"by: flow\n", "f:1:1: 'by': no such key; `flowtally config example` shows all\n"},
	{"domain: 1\nrate: 5\ndomain: 2\n",
	 "f:3:9: domain '2': given twice; line 1 has it already\n"},
	{"interfaces: [a]\ninterfaces: [b]\n",
	 "f:2:13: interfaces: given twice; line 1 has it already\n"},
	{"idle-timeout: 15\n",
	 "f:1:15: idle-timeout '15': lacks a unit; write ms, s, m or h behind the number\n"},
	{"idle-timeout: 15 s\n",
	 "f:1:15: idle-timeout '15 s': not a time; write one like 500ms, 15s, 2m or 1h\n"},
	{"idle-timeout: 25h\n",
	 "f:1:15: idle-timeout '25h': out of range; it can be 100ms to 24h\n"},
	{"idle-timeout: [15s]\n",
	 "f:1:15: idle-timeout: a list where there can be one value; write idle-timeout: 15s\n"},
	{"idle-timeout: {a: 15s}\n",
	 "f:1:15: idle-timeout: a mapping where there can be one value; write idle-timeout: 15s\n"},
	{"idle-timeout:\n", "f:1:14: idle-timeout: lacks its value; write idle-timeout: 15s\n"},
	{"message-size: 10KiB\n",
	 "f:1:15: message-size '10KiB': out of range; it can be 512 to 9000\n"},
	{"message-size: 1400 octets\n",
	 "f:1:15: message-size '1400 octets': not a size; it can be 512 to 9000\n"},
	{"rate: 5/m\n", "f:1:7: rate '5/m': not a rate; it can be 1 to 4294967295\n"},
	{"dscp: 64\n", "f:1:7: dscp '64': out of range; it can be 0 to 63\n"},
	{"dscp: 0x8\n", "f:1:7: dscp '0x8': not a number; it can be 0 to 63\n"},
	{"live: treu\n", "f:1:7: live 'treu': neither true nor false; did you mean true?\n"},
	{"live: True\n", "f:1:7: live 'True': neither true nor false; did you mean true?\n"},
	{"live: maybe\n", "f:1:7: live 'maybe': neither true nor false\n"},
	{"egress: xdp\n", "f:1:9: egress 'xdp': no such word; it can be auto, tc or off\n"},
	{"source: eth0\n", "f:1:9: source: 'eth0' is not an address\n"},
	{"ingress: off\negress: off\n",
	 "f:1:10: ingress off f:2:9: egress off: nothing to meter; leave one of them on\n"},
	{"quiet: true\nverbose: true\n", "f:1:8: quiet and f:2:10: verbose: choose one\n"},
	{"live: true\ncollectors: [json:-]\n",
	 "f:1:7: live and f:2:14: collectors json:- both need standard output, choose one\n"},
	{"interfaces: eth0\n",
	 "f:1:13: interfaces: one value where a list is needed; write interfaces: [\"eth0\"]\n"},
	{"interfaces: eth0, eth1\n",
	 "f:1:13: interfaces: one value where a list is needed; write interfaces: [\"veth*\"]\n"},
	{"interfaces: [\"a:0\", \"..\"]\n",
	 "f:1:14: interfaces 'a:0': no interface can have this name; `ip link` lists them\n"
	 "f:1:21: interfaces '..': no interface can have this name; `ip link` lists them\n"},
	{"interfaces: [a/b, 0123456789abcdef]\n",
	 "f:1:14: interfaces 'a/b': no interface can have this name; `ip link` lists them\n"
	 "f:1:19: interfaces '0123456789abcdef': longer than the 15 letters of an interface name\n"},
	{"interfaces: [[a]]\n",
	 "f:1:14: interfaces: a list where there can be one value; write a name\n"},
	{"collectors:\n  - 10.9.0.2:2055\n",
	 "f:2:5: collectors '10.9.0.2:2055': the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or"
	 " json:; did you mean netflow9://10.9.0.2:2055?\n"},
	{"collectors:\n  - name: a\n",
	 "f:2:5: collectors: a collector without url or protocol; write url: ipfix://192.0.2.20\n"},
	{"collectors:\n  - protocol: ipfx\n    rate: x\n",
	 "f:2:15: protocol 'ipfx': no such protocol; it can be ipfix, ipfix+tcp, netflow9, file or json;"
	 " did you mean ipfix?\n"
	 "f:3:11: rate: rate 'x' is not a number of records a second\n"},
	{"collectors:\n  - host: a\n",
	 "f:2:5: collectors: a collector without url or protocol; write url: ipfix://192.0.2.20\n"},
	{"collectors:\n  - protocol: ipfix\n    path: /x\n    port: 0\n",
	 "f:3:11: path '/x': of no use to protocol ipfix, which has host and port\n"
	 "f:2:5: collectors: a collector without host; write host: 192.0.2.20\n"
	 "f:4:11: port '0': not a port; it can be 1 to 65535\n"},
	{"collectors:\n  - protocol: file\n    host: a\n    port: 1\n",
	 "f:3:11: host 'a': of no use to protocol file, which has path\n"
	 "f:4:11: port '1': of no use to protocol file, which has path\n"
	 "f:2:5: collectors: a collector without path; write path: /var/lib/flows.ipfix\n"},
	{"collectors:\n  - protocol: file\n    path: \"-\"\n",
	 "f:3:11: path '-': the path must be absolute\n"},
	{"collectors:\n  - protocol: json\n    path: x\n",
	 "f:3:11: path 'x': the path must be absolute, or - for standard output\n"},
	{"collectors:\n  - {protocol: ipfix, host: \"a?rate=5\"}\n",
	 "f:2:29: host 'a?rate=5': neither a host name nor an address\n"},
	{"collectors:\n  - {protocol: ipfix, host: 1.2.3}\n",
	 "f:2:29: host: '1.2.3' is not an IPv4 address\n"},
	{"collectors:\n  - {protocol: ipfix, host: \"::1:x\"}\n",
	 "f:2:29: host: '::1:x' is not an IPv6 address\n"},
	{"collectors:\n  - url: ipfix://a\n    protocol: ipfix\n    host: b\n",
	 "f:3:15: protocol: given beside url; write the one or the other\n"
	 "f:4:11: host: given beside url; write the one or the other\n"},
	{"collectors:\n  - ipfix://user:secret@192.0.2.1\n  - user:secret@192.0.2.1:2055\n"
	 "  - {url: \"kafka://:s'cret@a@b\"}\n  - {protocol: ipfix, host: \"user:secret@a\"}\n",
	 "f:2:5: collectors 'ipfix://*@192.0.2.1': a user name has no meaning here\n"
	 "f:3:5: collectors '*@192.0.2.1:2055': unknown scheme 'user', use ipfix://, ipfix+tcp://, netflow9://, file://"
	 " or json:\n"
	 "f:4:11: url 'kafka://*@b': unknown scheme 'kafka', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:\n"
	 "f:5:29: host '*@a': neither a host name nor an address\n"},
	{"collectors:\n  - ipfix://user:se cret@192.0.2.1\n  - \"us er:' se\\\"c @ret@192.0.2.1:2055\"\n"
	 "  - \"ipfix://user:se?cr://et@a\"\n  - {protocol: ipfix, host: \"user:se 'cr' et@a\"}\n"
	 "source: \"us:se cret@a\"\n",
	 "f:2:5: collectors 'ipfix://*@192.0.2.1': a user name has no meaning here\n"
	 "f:3:5: collectors '*@192.0.2.1:2055': unknown scheme 'us er', use ipfix://, ipfix+tcp://, netflow9://, file://"
	 " or json:\n"
	 "f:4:5: collectors 'ipfix://*@a': a user name has no meaning here\n"
	 "f:5:29: host '*@a': neither a host name nor an address\n"
	 "f:6:9: source: '*@a' is not an address\n"},
	{"collectors: [\"file:///dev/shm/a@b/\"]\nsource: a@b\n",
	 "f:1:14: collectors 'file:///dev/shm/a@b/': '/dev/shm/a@b/' is a folder; the name of the file is missing\n"
	 "f:2:9: source: 'a@b' is not an address\n"},
	{"collectors:\n  - protocol: file\n    path: /dev/shm/nosuch\n  - protocol: json\n    path: /dev/shm/nosuch\n",
	 "f:5:11: collectors 'json:///dev/shm/nosuch': the same file as f:3:11: collectors"
	 " 'file:///dev/shm/nosuch'\n"},
	{"nothing: {listen: \"127.0.0.1:9717\"}\ncontrol: {socket: x, recoords: 5000, keep: [1]}\n",
	 "f:1:1: 'nothing': no such key; `flowtally config example` shows all\n"
	 "f:2:19: control-socket 'x': the path must be absolute; or off\n"
	 "f:2:22: 'recoords': no such key of control; did you mean records?\n"
	 "f:2:44: control-keep: a list where there can be one value; write control-keep: 10m\n"},
	{"control: {socket: /x}\ncontrol-socket: /y\n",
	 "f:2:17: control-socket '/y': given twice; line 1 has it already\n"},
	{"control: maybe\n", "f:1:10: control-socket 'maybe': the path must be absolute; or off\n"},
	{"metrics: {listn: \"127.0.0.1:9717\"}\nmetrix: {listen: /x}\n",
	 "f:1:11: 'listn': no such key of metrics; did you mean listen?\n"
	 "f:2:1: 'metrix': no such key; `flowtally config example` shows all\n"},
	{"metrics: of\n",
	 "f:1:10: metrics-listen 'of': no port; write 127.0.0.1:9717, [::1]:9717 or off\n"},
	{"metrics: [off]\n",
	 "f:1:10: metrics-listen: a list where there can be one value; write metrics-listen: 127.0.0.1:9717\n"},
	{"metrics: {listen: [a]}\n",
	 "f:1:19: metrics-listen: a list where there can be one value; write metrics-listen: 127.0.0.1:9717\n"},
	{"metrics: {hubble: true}\nmetrics-hubble: false\n",
	 "f:2:17: metrics-hubble 'false': given twice; line 1 has it already\n"},
	{"metrics-listen: 127.0.0.1\n",
	 "f:1:17: metrics-listen '127.0.0.1': no port; write 127.0.0.1:9717, [::1]:9717 or off\n"},
	{"metrics-listen: :9717\n",
	 "f:1:17: metrics-listen ':9717': no address; write 127.0.0.1:9717, or 0.0.0.0:9717 for all of them\n"},
	{"metrics-listen: ::1:9717\n",
	 "f:1:17: metrics-listen '::1:9717': an IPv6 address without brackets; write [::1]:9717\n"},
	{"metrics-listen: host:9717\n",
	 "f:1:17: metrics-listen 'host:9717': 'host' is not an address\n"},
	{"metrics-listen: 127.0.0.1:99999\n",
	 "f:1:17: metrics-listen '127.0.0.1:99999': no port; write 127.0.0.1:9717, [::1]:9717 or off\n"},
	{"collectors:\n  - url: ipfix://a\n    ratte: 5\n",
	 "f:3:5: 'ratte': no such key of a collector; there are url, protocol, host, port, path, name, template,"
	 " rate, source, dscp, message-size, drops, retry, rotate and keep; did you mean rate?\n"},
	{"collectors:\n  - url: ipfix://a\n    rate: 5\n    rate: 6\n",
	 "f:4:5: rate: given twice; line 3 has it already\n"},
	{"collectors:\n  - url: ipfix://a?rate=5\n    rate: 6\n",
	 "f:3:11: rate: rate is given twice\n"},
	{"collectors:\n  - url: ipfix://a\n    dscp: 64\n    template: defualt\n    source: [a]\n",
	 "f:5:13: source: a list where there can be one value; write KEY: VALUE\n"
	 "f:3:11: dscp: dscp '64' is not between 0 and 63\n"
	 "f:4:15: template 'defualt': 'defualt' is no element that is metered, docs/fields.md lists them;"
	 " did you mean default?\n"},
	{"collectors:\n  - url: gopher://a\n    dscp: 64\n",
	 "f:2:10: url 'gopher://a': unknown scheme 'gopher', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:\n"
	 "f:3:11: dscp: dscp '64' is not between 0 and 63\n"},
	{"collectors:\n  - url: json:///dev/null\n    rate: 5\n",
	 "f:3:11: rate: of no use to 'json:///dev/null'; collectors elsewhere have it\n"},
	{"collectors:\n  - {url: \"ipfix://a\", name: x}\n  - {url: \"ipfix://b\", name: x}\n",
	 "f:3:30: name 'x': another collector has this name\n"},
	{"collectors: [\"file:///dev/shm/nosuch\", \"json:///dev/shm/../shm/nosuch\"]\n",
	 "f:1:40: collectors 'json:///dev/shm/../shm/nosuch': the same file as f:1:14: collectors"
	 " 'file:///dev/shm/nosuch'\n"},
	{"domain: &a 5\nrate: *a\n",
	 "f:1:9: an anchor, '&a'; it has no use here\n"
	 "f:2:7: an alias, '*a'; write the value itself (quote it, if it is a name that begins with *)\n"},
	{"interfaces: [*]\n",
	 "f:1:14: a value that begins with *, which YAML takes for an alias; quote it, as in \"*\""
	 " (what follows was not read)\n"},
	{"interfaces: *\n",
	 "f:1:13: a value that begins with *, which YAML takes for an alias; quote it, as in \"*\""
	 " (what follows was not read)\n"},
	{"interfaces:\n  - *0*\n",
	 "f:2:5: a value that begins with *, which YAML takes for an alias; quote it, as in \"*\""
	 " (what follows was not read)\n"},
	{"interfaces: [a,\n\tb: *]\n",
	 "f:2:2: interfaces: a mapping where there can be one value; write a name\n"
	 "f:2:5: a value that begins with *, which YAML takes for an alias; quote it, as in \"*\""
	 " (what follows was not read)\n"},
	{"interfaces: [a,\n\t\"b]\n",
	 "f:3:1: not YAML: found unexpected end of stream while scanning a quoted scalar"
	 " (what follows was not read)\n"},
	{"\"linger\\0x\": 5s\n", "f:1:1: a key of more than 63 characters, or with a 0 in it\n"},
	{"? " LETTERS_64 "\n: 5s\nlinger: 5\n",
	 "f:1:3: a key of more than 63 characters, or with a 0 in it\n"
	 "f:3:9: linger '5': lacks a unit; write ms, s, m or h behind the number\n"},
	{"collectors:\n  - {url: \"ipfix://a\", \"rate\\0x\": 5}\n",
	 "f:2:24: a key of more than 63 characters, or with a 0 in it\n"},
	{"\xef\xbb\xbflinger: 5\ndomain: 0\n",
	 "f:1:9: linger '5': lacks a unit; write ms, s, m or h behind the number\n"
	 "f:2:9: domain '0': out of range; it can be 1 to 4294967295\n"},
	{"domain: !!int 5\n", "f:1:9: a tag, 'tag:yaml.org,2002:int'; it has no use here\n"},
	{"<<: {domain: 5}\n", "f:1:1: '<<': no such key; `flowtally config example` shows all\n"},
	{"? [a]\n: b\n", "f:1:3: a list where a key is needed\n"},
	{"collectors:\n\t- ipfix://a\n",
	 "f:2:1: a tab; YAML is indented by spaces (what follows was not read)\n"},
	{"domain: 5\n rate: 6\n",
	 "f:1:9: domain '5 rate': not a number; it can be 1 to 4294967295\n"
	 "f:2:6: not YAML: mapping values are not allowed in this context (what follows was not read)\n"},
	{"domain: 5\n---\nrate: 6\n", "f:2:1: a second document; there can be one\n"},
	{"- domain: 5\n", "f:1:1: a list where lines of KEY: VALUE are needed\n"},
	{"hello\n", "f:1:1: one value where lines of KEY: VALUE are needed\n"},
	{"domain: \"5\\0\"\n",
	 "f:1:9: domain: a value of more than 4096 characters, or with a 0 in it; write domain: 7\n"},
	{"a: [[[[[[[[[[[[\n",
	 "f:1:1: 'a': no such key; `flowtally config example` shows all\n"
	 "f:1:11: nested too deeply; 8 levels can be (what follows was not read)\n"},
	{"# \xc3\xa4\ndomain: \xff\n", "f:2:9: not UTF-8, 0xff; text in UTF-8 is needed\n"},
	{"# \xc3\xa4\xc0\xaf\n", "f:1:4: not UTF-8, 0xc0; text in UTF-8 is needed\n"},
	{"# \xed\xa0\x80\n", "f:1:3: not UTF-8, 0xed; text in UTF-8 is needed\n"},
	{"domain: \x1b[1m\n", "f:1:9: a control character, 0x1b; text is needed\n"},
	{"a: 1\nb: 2\n#\xc2\x80\n", "f:3:2: a control character, U+0080; text is needed\n"},
	{"a: 1\r\n\xc2\x9f: 2\n", "f:2:1: a control character, U+009f; text is needed\n"},
	{"a: 1\r#\xef\xbf\xbe\n", "f:2:2: a control character, U+fffe; text is needed\n"},
	{"#\xe2\x80\xa8\xef\xbf\xbf\n", "f:2:1: a control character, U+ffff; text is needed\n"},
	{"domain: \x7f\n", "f:1:9: a control character, 0x7f; text is needed\n"},
	{"a: 1\nb: 2\nidle-timeout: x\n",
	 "f:1:1: 'a': no such key; `flowtally config example` shows all\n"
	 "f:2:1: 'b': no such key; `flowtally config example` shows all\n"
	 "f:3:15: idle-timeout 'x': not a time; write one like 500ms, 15s, 2m or 1h\n"},
};

static void test_mistakes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		int r = load_text(mistakes[i].text);

		if (r != -EINVAL || strcmp(got.text, mistakes[i].problems) != 0)
			fail_msg("%s: %d, not\n%sbut\n%s", mistakes[i].text, r,
				 mistakes[i].problems, got.text);
	}
}

/* Neither time nor memory grow with what somebody puts into a file. */
static void test_bombs(void **state)
{
	static char text[(1 << 20) + 1];
	size_t used = 0;

	(void)state;
	memset(text, '[', CONFIG_TEXT_MAX);
	text[CONFIG_TEXT_MAX] = '\0';
	assert_int_equal(load_text(text), -EINVAL);
	memset(text, ' ', CONFIG_TEXT_MAX);
	assert_int_equal(load_text(text), 0);
	config_done();
	write_file(text, sizeof(text)); /* an octet too many */
	assert_int_equal(load(&(struct config_request){.verb = VERB_RUN, .file = path}), -EINVAL);
	assert_non_null(strstr(got.text, "f:1:1: more than 1 MiB"));
	while (used < sizeof(text) - 16)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "k%zu: 1\n", used);
	assert_int_equal(load_text(text), -EINVAL);
	assert_non_null(strstr(got.text, "and "));
	assert_true(strlen(got.text) < 10000);
	used = (size_t)snprintf(text, sizeof(text), "collectors:\n");
	while (used < sizeof(text) - 16)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "- ipfix://a\n");
	assert_int_equal(load_text(text), -EINVAL);
	assert_non_null(strstr(got.text, "given 87380 times; there can be 32"));
}

/* --- Files that are not to be trusted, or none */

static void expect_refused(const char *what)
{
	int r = load(&(struct config_request){.verb = VERB_RUN, .file = path, .partial = true});

	if (r != -EINVAL || !strstr(got.text, what))
		fail_msg("%d, not (%s): %s", r, what, got.text);
}

static void test_files(void **state)
{
	(void)state;
	unlink(path);
	expect_refused("f: No such file or directory\n");
	assert_int_equal(mkdir(path, 0755), 0);
	expect_refused("f: a folder; a file is needed\n");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	alarm(5); /* it would wait for somebody who writes */
	expect_refused("f: a pipe, socket or device; a file is needed\n");
	alarm(0);
	unlink(path);
	if (geteuid() != 0)
		return;
	write_file("domain: 7\n", 10);
	assert_int_equal(chmod(path, 0664), 0);
	expect_refused("f: others than its owner can write it");
	assert_int_equal(chmod(path, 0646), 0);
	expect_refused("f: others than its owner can write it");
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chown(path, 65534, 0), 0);
	expect_refused("f: belongs to user 65534");
	assert_int_equal(chown(path, 0, 65534), 0);
	assert_int_equal(
		load(&(struct config_request){.verb = VERB_RUN, .file = path, .partial = true}), 0);
	config_done();
	write_file("collectors: [\"file:///x\"]\n", 26);
}

/* Root reads by no way that somebody else can change. */

static char *below(const char *name)
{
	static char text[4][128];
	static unsigned int turn;
	char *full = text[turn++ % ARRAY_SIZE(text)];

	snprintf(full, sizeof(text[0]), "%s/%s", folder, name);
	return full;
}

static void make_link(const char *name, const char *target, unsigned int owner)
{
	assert_int_equal(symlink(target, below(name)), 0);
	assert_int_equal(lchown(below(name), owner, 0), 0);
}

static int load_by(const char *name)
{
	return load(
		&(struct config_request){.verb = VERB_RUN, .file = below(name), .partial = true});
}

static void expect_taken(const char *name)
{
	if (load_by(name) != 0)
		fail_msg("%s: %s", name, got.text);
	config_done();
}

static void expect_way_refused(const char *name, const char *what)
{
	if (load_by(name) != -EINVAL || !strstr(got.text, what))
		fail_msg("%s, not (%s): %s", name, what, got.text);
}

/* As a ConfigMap is mounted: its folder is 0777, and the file system cannot be written. */
static void test_way_read_only(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		bool good = unshare(CLONE_NEWNS) == 0 &&
			    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			    mount(below("open"), below("open"), NULL, MS_BIND, NULL) == 0 &&
			    mount(NULL, below("open"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY,
				  NULL) == 0;

		_exit(!good ? 2 : load_by("open/f.yaml") == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_way(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	write_file("domain: 7\n", 10);
	assert_int_equal(mkdir(below("open"), 0755), 0);
	assert_int_equal(link(path, below("open/f.yaml")), 0);
	make_link("ours", "f.yaml", 0);
	make_link("foreign", "f.yaml", 65534);
	make_link("twice", "foreign", 0);
	make_link("folder", "open", 65534);
	make_link("round", "round", 0);
	make_link("absolute", below("open/f.yaml"), 0);
	expect_taken("ours");
	expect_taken("absolute");
	expect_taken("open/../open/./f.yaml");
	expect_way_refused("foreign",
			   "/foreign' belongs to user 65534, who could change what root runs\n");
	expect_way_refused("twice", "/foreign' belongs to user 65534");
	expect_way_refused("folder/f.yaml", "/folder' belongs to user 65534");
	expect_way_refused("round", "/round: Too many levels of symbolic links\n");
	assert_int_equal(chmod(below("open"), 0777), 0);
	expect_way_refused("absolute", "others than root can change the folder '/tmp/");
	expect_way_refused("open/f.yaml", "/open', and so what root runs\n");
	test_way_read_only();
	assert_int_equal(chmod(below("open"), 01777), 0); /* as /tmp */
	expect_taken("open/f.yaml");
	assert_int_equal(chmod(below("open"), 0775), 0);
	expect_way_refused("open/f.yaml", "others than root can change the folder");
	assert_int_equal(chmod(below("open"), 0755), 0);
	assert_int_equal(chown(below("open"), 65534, 0), 0);
	expect_way_refused("open/f.yaml", "others than root can change the folder");
	unlink(below("open/f.yaml"));
	rmdir(below("open"));
	unlink(below("ours"));
	unlink(below("foreign"));
	unlink(below("twice"));
	unlink(below("folder"));
	unlink(below("round"));
	unlink(below("absolute"));
}

/* A collector would overwrite what it was read from. */
static void test_own_file(void **state)
{
	char text[256];

	(void)state;
	snprintf(text, sizeof(text), "collectors: ['file://%s']\n", path);
	assert_int_equal(load_text(text), -EINVAL);
	assert_string_equal(got.text, "f:1:14: collectors 'file://f': would overwrite the"
				      " configuration 'f'\n");
}

static unsigned int finished_names(const char *path_of_one, const char *path_of_other)
{
	char text[512];
	unsigned int count = 0;
	int r;

	snprintf(text, sizeof(text), "collectors: ['file://%s?rotate=1h&keep=2', 'file://%s']\n",
		 path_of_one, path_of_other);
	r = load_text(text);
	for (const char *at = got.text; r < 0 && (at = strstr(at, "the name of a finished file"));
	     at++)
		count++;
	if (r >= 0)
		config_done();
	return count;
}

/* A collector would write what another one deletes, by whatever path. */
static void test_finished_name(void **state)
{
	(void)state;
	assert_int_equal(mkdir(below("d"), 0755), 0);
	assert_int_equal(mkdir(below("e"), 0755), 0);
	assert_int_equal(symlink("d", below("way")), 0);
	assert_int_equal(symlink("../d/f.3", below("e/g")), 0);
	assert_int_equal(close(open(below("d/f.3"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
	assert_int_equal(finished_names(below("d/f"), below("d/f.1")), 1);
	assert_int_equal(finished_names(below("d/f"), below("d/./f.1")), 1);
	assert_int_equal(finished_names(below("d/./f"), below("d//f.12")), 1);
	assert_int_equal(finished_names(below("d/f"), below("e/../d/f.1")), 1);
	assert_int_equal(finished_names(below("d/f"), below("way/f.1")), 1);
	assert_int_equal(finished_names(below("way/f"), below("d/f.3")), 1);
	assert_int_equal(finished_names(below("d/f"), below("e/g")), 1);
	assert_int_equal(finished_names(below("nosuch/f"), below("nosuch/f.1")), 1);
	assert_int_equal(finished_names(below("d/f"), below("e/f.1")), 0);
	assert_int_equal(finished_names(below("d/f"), below("d/f.1x")), 0);
	assert_int_equal(finished_names(below("d/f"), below("d/.1")), 0);
	unlink(below("d/f.3"));
	unlink(below("e/g"));
	unlink(below("way"));
	rmdir(below("e"));
	rmdir(below("d"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes), cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_files),	 cmocka_unit_test(test_way),
		cmocka_unit_test(test_own_file), cmocka_unit_test(test_finished_name),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
