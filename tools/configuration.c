/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/configuration.md from the table of settings; a test compares the page with it. */
#include <stdio.h>
#include <string.h>
#include "config/schema.h"
#include "exporter/export/export.h"
#include "exporter/export/url.h"
#include "tools/setting_range.h"

/* A bar would end the cell. */
static void print_cell(const char *text)
{
	for (; *text; text++)
		printf(*text == '|' ? "\\%c" : "%c", *text);
}

static void print_settings(void)
{
	printf("| Key | Default | Values | Reload | Meaning |\n"
	       "|-----|---------|--------|--------|---------|\n");
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (!setting_in_file(s))
			continue;
		printf("| %s | %s | ", setting_key(s),
		       s->standard		 ? s->standard
		       : s->type == SETTING_FLAG ? "false"
						 : "");
		setting_range_print(s);
		printf(" | %s | ", s->reload == RELOAD_APPLIES ? "applies" : "restart");
		print_cell(s->help);
		printf(" |\n");
	}
}

static void print_values(void)
{
	printf("## Values\n\n"
	       "Times have a unit: 500ms, 15s, 2m, 1h. Sizes are octets, or have one: 1400, 9kB (9000), 1KiB\n"
	       "(1024). Rates are a second: 5000, 10k/s, 2M/s. A value that begins with `*`, as a glob may, is in\n"
	       "quotes.\n\n");
}

static void print_range_of_option(const char *name)
{
	if (!strcmp(name, "drops"))
		printf("on or off");
	else if (!strcmp(name, "retry"))
		printf("seconds, 1 to 3600");
	else if (!strcmp(name, "rotate"))
		printf("time (1s to 8760h), size (%d to 1000GB), both with a comma, or off",
		       URL_ROTATE_SIZE_MIN);
	else if (!strcmp(name, "keep"))
		printf("number, 0 to %d", URL_KEEP_MAX);
	else
		setting_range_print(setting_find(name));
}

/* The schemes that heed it. */
static void print_schemes(unsigned int option)
{
	static const struct {
		const char *name;
		enum url_scheme scheme;
	} schemes[] = {{"ipfix", URL_IPFIX},
		       {"ipfix+tcp", URL_IPFIX_TCP},
		       {"netflow9", URL_NETFLOW9},
		       {"file", URL_FILE},
		       {"json", URL_JSON}};
	bool first = true;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (!url_option_applies(option, schemes[i].scheme))
			continue;
		printf("%s%s", first ? "" : ", ", schemes[i].name);
		first = false;
	}
}

static const char *meaning_of_option(const char *name)
{
	if (!strcmp(name, "drops"))
		return "records of drops go to it too; without it `file` and `json` get them, and the others"
		       " when the setting `drops` is `on`: most of them count such records as flows of 0 packets";
	if (!strcmp(name, "retry"))
		return "time between two attempts to connect, at least (60)";
	if (!strcmp(name, "rotate"))
		return "when a [new file](export.md#rotation) begins (off)";
	if (!strcmp(name, "keep"))
		return "finished files that are kept; 0: all (0)";
	return setting_find(name)->help;
}

static void print_collectors(void)
{
	printf("## Collectors\n\n"
	       "A collector is a URL, or a mapping. A mapping has its `url`, or the parts of it. These four are\n"
	       "the same:\n\n"
	       "```\n"
	       "collectors:\n"
	       "  - netflow9://192.0.2.21:2055?rate=5000\n"
	       "  - {url: \"netflow9://192.0.2.21:2055\", rate: 5000}\n"
	       "  - {protocol: netflow9, host: 192.0.2.21, rate: 5000}\n"
	       "  - protocol: netflow9\n"
	       "    host: 192.0.2.21\n"
	       "    port: 2055\n"
	       "    rate: 5000\n"
	       "```\n\n"
	       "| Key | Values | Collectors | Meaning |\n|-----|--------|------------|---------|\n"
	       "| url | URL | all | where records go |\n"
	       "| protocol | ipfix, ipfix+tcp, netflow9, file or json | all | instead of `url`, with host or path |\n"
	       "| host | name or address | ipfix, ipfix+tcp, netflow9 | IPv6 without brackets |\n"
	       "| port | number, 1 to 65535 | ipfix, ipfix+tcp, netflow9 | 4739, with netflow9 2055 |\n"
	       "| path | absolute path | file, json | of the file; `-` of json is standard output |\n"
	       "| name | 1 to 63 characters | all | for the ledger and for messages; each has its own |\n");
	for (unsigned int i = 0; url_option_name(i); i++) {
		printf("| %s | ", url_option_name(i));
		print_range_of_option(url_option_name(i));
		printf(" | ");
		print_schemes(i);
		printf(" | ");
		print_cell(meaning_of_option(url_option_name(i)));
		printf(" |\n");
	}
	printf("\nFrom `template` on, the keys are those that a URL can have behind `?`. What a collector does not\n"
	       "say itself it takes from the setting of the same name. A mapping with a key that its collector does\n"
	       "not heed is a mistake. There can be %d collectors, none of them on the file of another. With an empty\n"
	       "list flows are metered and then forgotten.\n\n",
	       EXPORT_COLLECTORS_MAX);
}

static void print_reload(void)
{
	printf("## Reload\n\n"
	       "`flowtally run` reads the file again when it changes, and on SIGHUP. It watches the folder of the\n"
	       "file, that of each link on the way to it, and the folders above. So it also sees an editor that\n"
	       "puts a new file in the place of the old one, a Kubernetes ConfigMap whose link `..data` moves on,\n"
	       "and a folder on the way that is renamed. It reads when nothing has happened to the file for 0.1 s.\n"
	       "With `watch: off` it reads on SIGHUP alone. Of a folder that flowtally may not read it does not\n"
	       "hear.\n\n"
	       "Only the file is read again: the options, `--set` and the environment are those of the start, and\n"
	       "go on to count more.\n\n"
	       "A good file is compared with what runs, and the difference is applied. Interfaces that stay remain\n"
	       "attached, and collectors that stay keep their socket, queue and sequence numbers. Each change is\n"
	       "logged:\n\n"
	       "```\n"
	       "interface: eth1 is added\n"
	       "collector: ipfix://192.0.2.20, rate: 10k, was ipfix://192.0.2.20\n"
	       "idle-timeout: 15s, was 20s\n"
	       "'/etc/flowtally/flowtally.yaml' is in force\n"
	       "```\n\n"
	       "A file with a mistake changes nothing: all its mistakes are logged, and the exporter goes on as\n"
	       "before. So does a file that changes a setting which is marked `restart` below: the setting is named.\n\n"
	       "## systemd\n\n"
	       "[flowtally.service](../config/flowtally.service) runs `flowtally run --config\n"
	       "/etc/flowtally/flowtally.yaml`. `systemctl reload flowtally` reads the file again; `systemctl status`\n"
	       "shows `reloading` meanwhile. With systemd 253 or newer\n"
	       "[notify-reload.conf](../config/notify-reload.conf) in the folder `flowtally.service.d` makes it\n"
	       "Type=notify-reload: `systemctl reload` then waits until the reload has ended. `meson install` installs it\n"
	       "where systemd is new enough, and the example in the folder `doc/flowtally`. A wrong file at the start\n"
	       "(exit status 2) is not started again. Give TimeoutStopSec more than `stop-timeout`, and 10 to 20 ms\n"
	       "for each hook more: when all is exported and the process ends, the kernel detaches tcx hooks one by\n"
	       "one. 1000 interfaces, with two hooks each, took it 20 s.\n\n");
}

int main(void)
{
	printf("<!-- Generated from config/schema.c: "
	       "ninja -C build tools/configuration.md && cp build/tools/configuration.md docs/ -->\n"
	       "# Configuration\n\n"
	       "```\n"
	       "flowtally run --config /etc/flowtally/flowtally.yaml\n"
	       "```\n\n"
	       "The file is YAML. Every long option of `flowtally run` is a key of the same name; those that can\n"
	       "be repeated are lists, `interfaces` and `collectors`.\n"
	       "[flowtally.yaml](../config/flowtally.yaml) has all keys with their defaults.\n\n"
	       "```\n"
	       "interfaces: [eth0, \"veth*\"]\n"
	       "collectors:\n"
	       "  - url: ipfix://192.0.2.20\n"
	       "    name: main\n"
	       "    template: extended\n"
	       "  - netflow9://192.0.2.21:2055\n"
	       "idle-timeout: 20s\n"
	       "```\n\n"
	       "What begins with `metrics-` or `control-` may also be written in a mapping: `metrics:\n"
	       "{listen: off}` is `metrics-listen: off`.\n\n"
	       "The variable FLOWTALLY_CONFIG can name the file instead of `--config`.\n\n"
	       "## Who counts more\n\n"
	       "1. options, `--idle-timeout 20s`\n"
	       "2. `--set idle-timeout=20s`, with the keys of the file\n"
	       "3. variables of the environment, `FLOWTALLY_IDLE_TIMEOUT=20s`; an empty one is as good as none\n"
	       "4. the file\n"
	       "5. defaults\n\n"
	       "A list is taken whole from the first of these that gives it. In `--set` and in the environment a\n"
	       "list has blanks between its values, or is written as in the file:\n"
	       "`FLOWTALLY_INTERFACES='eth0 eth1'`,\n"
	       "`--set 'collectors=[{url: ipfix://192.0.2.20, rate: 10k/s}]'`. `flowtally replay` and\n"
	       "`flowtally drops` have options alone.\n\n");
	print_values();
	print_collectors();
	printf("## The file\n\n"
	       "It is a regular file of up to 1 MiB, UTF-8, with one document and without anchors, aliases and\n"
	       "tags. When root runs it, the file, the folders on the way to it and their links must belong to\n"
	       "root, and nobody else may write them; folders like `/tmp` (sticky) and file systems that are\n"
	       "mounted to be read alone are no matter. All mistakes are told at once, and the exit status is 2:\n\n"
	       "```\n"
	       "flowtally.yaml:3:1: 'idle-timout': no such key; did you mean idle-timeout?\n"
	       "flowtally.yaml:4:9: linger '15': lacks a unit; write ms, s, m or h behind the number\n"
	       "```\n\n"
	       "| Command | |\n|---------|-|\n"
	       "| `flowtally config check FILE` | tells all mistakes |\n"
	       "| `flowtally config show [--effective] [OPTION]...` | what `run` would have with these "
	       "options, and who gave it; all settings with `--effective` |\n"
	       "| `flowtally config diff OLD NEW` | what differs; exit status 1 if anything does, as by diff(1) |\n"
	       "| `flowtally config schema` | a JSON schema (draft 7), for editors |\n"
	       "| `flowtally config example` | flowtally.yaml of this version |\n\n");
	print_reload();
	printf("## Keys\n\n"
	       "Reload: what a running exporter does with another value, applies it or takes a restart.\n\n");
	print_settings();
	return 0;
}
