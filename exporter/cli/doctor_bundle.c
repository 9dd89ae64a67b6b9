/* SPDX-License-Identifier: Apache-2.0 */
/* What a support case needs, in one file.  It holds no secrets: no file of the system is copied as it is. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include "config/print.h"
#include "exporter/cli/doctor.h"
#include "exporter/cli/mask.h"
#include "exporter/observe/text.h"

#define PROGRAMS_MAX 4096
#define BLOCK	     512 /* octets of what a tar file consists of */

struct writer {
	const struct bundle *bundle;
	FILE *file;
	time_t now;
};

/* --- Without secrets. */

/* A key that may name one, at present or later: its value is left out. */
static bool is_secret(const char *line)
{
	static const char *const words[] = {"password", "passphrase", "secret",	   "token",
					    "psk",	"private",    "credential"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasestr(line, words[i]))
			return true;
	return false;
}

/* The lines, each without its value if it may be a secret; NULL: no memory. */
static char *without_secrets(const char *text)
{
	char *copy = NULL;
	size_t size, length;
	FILE *file = open_memstream(&copy, &size);

	if (!file)
		return NULL;
	for (; *text; text += length + (text[length] == '\n')) {
		_cleanup_(freep) char *line = NULL;

		length = strcspn(text, "\n");
		line = strndup(text, length);
		if (line && is_secret(line))
			fprintf(file, "%.*s: (left out)\n", (int)strcspn(line, ":="), line);
		else
			fprintf(file, "%s\n", line ?: "");
	}
	if (fclose(file) != 0) {
		free(copy);
		return NULL;
	}
	return copy;
}

/* All values whose keys may name one or which may hold one, also those inside of others. */
static void hide_secrets(json_t *value)
{
	json_t *inner;
	const char *key, *text;
	size_t i;

	json_array_foreach (value, i, inner) {
		text = json_string_value(inner);
		if (text && is_secret(text))
			json_array_set_new(value, i, json_string("(left out)"));
		else
			hide_secrets(inner);
	}
	json_object_foreach (value, key, inner) {
		text = json_string_value(inner);
		if (is_secret(key) || (text && is_secret(text)))
			json_object_set_new(value, key, json_string("(left out)"));
		else
			hide_secrets(inner);
	}
}

/* --- The archive. */

/*
 * A header of POSIX.1 (ustar), all of it text.  libarchive would bring libxml2, ICU and libstdc++ into a process that runs on
 * each node, 40 MB of libraries, for this one structure.
 */
struct header {
	char name[100];
	char mode[8], user[8], group[8]; /* octal */
	char size[12], time[12];	 /* likewise */
	char sum[8];			 /* of all octets of the header, with blanks here */
	char type;
	char link[100];
	char magic[6], version[2];
	char user_name[32], group_name[32];
	char device[16];
	char prefix[155];
	char unused[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

/* Digits that fill the field but for the 0 at its end. */
static void put_octal(char *field, size_t size, uint64_t value)
{
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
}

static void fill_sum(struct header *header)
{
	const unsigned char *octets = (const unsigned char *)header;
	unsigned int sum = 0;

	memset(header->sum, ' ', sizeof(header->sum));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += octets[i];
	snprintf(header->sum, sizeof(header->sum), "%06o", sum); /* six digits, 0, and the blank */
}

/* A file, filled up to whole blocks; what cannot be written shows at the end (ferror()). */
static void put_file(struct writer *w, const char *name, const char *text)
{
	static const char zeros[BLOCK];
	struct header header = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
	const size_t size = strlen(text);

	snprintf(header.name, sizeof(header.name), "flowtally-doctor/%s", name);
	put_octal(header.mode, sizeof(header.mode), 0600);
	put_octal(header.user, sizeof(header.user), 0);
	put_octal(header.group, sizeof(header.group), 0);
	put_octal(header.size, sizeof(header.size), size);
	put_octal(header.time, sizeof(header.time), (uint64_t)w->now);
	fill_sum(&header);
	fwrite(&header, 1, sizeof(header), w->file);
	fwrite(text, 1, size, w->file);
	fwrite(zeros, 1, (BLOCK - size % BLOCK) % BLOCK, w->file);
}

/* `lines`: it is text, of which lines may hold secrets. */
static int put(struct writer *w, const char *name, const char *text, bool lines)
{
	_cleanup_(freep) char *plain = lines ? without_secrets(text) : strdup(text), *masked = NULL;

	if (plain && w->bundle->mask)
		masked = mask_text(w->bundle->mask, plain);
	text = w->bundle->mask ? masked : plain;
	if (!text)
		return -ENOMEM;
	put_file(w, name, text);
	return 0;
}

/* Takes the object. */
static int put_json(struct writer *w, const char *name, json_t *object)
{
	json_t *copy = json_deep_copy(object);
	_cleanup_(freep) char *text = NULL;

	hide_secrets(copy);
	text = copy ? json_dumps(copy, JSON_INDENT(2)) : NULL;

	json_decref(copy);
	json_decref(object);
	return text ? put(w, name, text, false) : -ENOMEM;
}

typedef void (*printer)(FILE *file, const struct bundle *bundle);

static int put_printed(struct writer *w, const char *name, printer print)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return -ENOMEM;
	print(file, w->bundle);
	return fclose(file) == 0 ? put(w, name, text, true) : -ENOMEM;
}

/* --- What is in it. */

static void print_findings(FILE *file, const struct bundle *bundle)
{
	doctor_report_print(file, bundle->report);
}

static void print_versions(FILE *file, _unused_ const struct bundle *bundle)
{
	struct utsname system;
	char text[4096];

	fprintf(file, "flowtally %s\nlibbpf %s\n", FLOWTALLY_VERSION, libbpf_version_string());
	if (uname(&system) == 0) /* without the name of the host */
		fprintf(file, "%s %s %s %s\n", system.sysname, system.release, system.version,
			system.machine);
	if (doctor_read("", "/etc/os-release", text, sizeof(text)) == 0)
		fprintf(file, "\n%s\n", text);
}

static void print_configuration(FILE *file, const struct bundle *bundle)
{
	if (!bundle->config)
		fputs("# not known: it has mistakes, which the findings name\n", file);
	else if (config_print(file, bundle->config, true) < 0)
		fputs("# no memory\n", file);
}

static json_t *features_json(const struct doctor_kernel *kernel)
{
	json_t *array = json_array();

	for (size_t i = 0; i < kernel->feature_count; i++) {
		const struct feature *f = &kernel->features[i];

		json_array_append_new(array,
				      json_pack("{s:s, s:s, s:s, s:b, s:b, s:s}", "name", f->name,
						"what", f->what, "since", f->since, "needed",
						f->needed, "masked", f->masked, "found",
						f->error ? strerror(-f->error) : "yes"));
	}
	return array;
}

static json_t *programs_json(const struct doctor_device *device)
{
	static const char *const places[] = {"XDP", "TC ingress", "TC egress"};
	json_t *array = json_array();

	for (size_t i = 0; i < device->program_count; i++)
		json_array_append_new(array, json_pack("{s:s, s:i, s:s}", "at",
						       places[device->programs[i].place], "id",
						       (int)device->programs[i].id, "name",
						       device->programs[i].name));
	return array;
}

static json_t *interfaces_json(const struct doctor_devices *devices)
{
	json_t *array = json_array();

	for (size_t i = 0; i < devices->count; i++) {
		const struct doctor_device *device = &devices->list[i];
		const struct netdev *dev = &device->dev;

		json_array_append_new(
			array,
			json_pack("{s:o, s:i, s:i, s:i, s:i, s:i, s:b, s:s, s:b, s:s, s:i, s:o}",
				  "name", text_json_name(dev->name), "ifindex", (int)dev->ifindex,
				  "master", (int)dev->master, "link", (int)dev->link, "mtu",
				  (int)dev->mtu, "type", dev->type, "up", dev->up, "kind",
				  dev->kind, "metered", device->wanted, "driver", device->driver,
				  "offloads", (int)device->offloads, "programs",
				  programs_json(device)));
	}
	return array;
}

/* All of the system; only CAP_SYS_ADMIN may ask. */
static json_t *all_programs_json(void)
{
	json_t *array = json_array();
	__u32 id = 0;
	int r = 0;

	for (unsigned int i = 0; i < PROGRAMS_MAX && (r = bpf_prog_get_next_id(id, &id)) == 0;
	     i++) {
		_cleanup_(closep) int fd = bpf_prog_get_fd_by_id(id);
		struct bpf_prog_info info = {0};
		__u32 size = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
			continue;
		json_array_append_new(
			array, json_pack("{s:i, s:s, s:s, s:i, s:i}", "id", (int)id, "name",
					 info.name, "type",
					 libbpf_bpf_prog_type_str((enum bpf_prog_type)info.type)
						 ?: "unknown",
					 "jited_octets", (int)info.jited_prog_len, "loaded_by",
					 (int)info.created_by_uid));
	}
	if (r == -EPERM) {
		json_decref(array);
		return json_pack("{s:s}", "left_out", "listing programs needs CAP_SYS_ADMIN");
	}
	return array;
}

static json_t *status_json(const struct doctor_exporter *exporter)
{
	if (exporter->status)
		return json_incref(exporter->status);
	return json_pack("{s:s}", "left_out", strerror(-exporter->error));
}

static int put_all(struct writer *w)
{
	const struct bundle *b = w->bundle;
	int r = put_printed(w, "findings.txt", print_findings);

	r = r ?: put_json(w, "findings.json", doctor_report_json(b->report));
	r = r ?: put_printed(w, "versions.txt", print_versions);
	r = r ?: put_printed(w, "configuration.yaml", print_configuration);
	r = r ?: put_json(w, "features.json", features_json(&b->facts->kernel));
	r = r ?: put_json(w, "interfaces.json", interfaces_json(&b->facts->devices));
	r = r ?: put_json(w, "bpf-programs.json", all_programs_json());
	return r ?: put_json(w, "status.json", status_json(&b->facts->exporter));
}

/* Two blocks of zeros are the end. */
static int finish(struct writer *w)
{
	static const char zeros[2 * BLOCK];

	errno = 0;
	fwrite(zeros, 1, sizeof(zeros), w->file);
	if (fflush(w->file) != 0 || ferror(w->file))
		return errno ? -errno : -EIO;
	return 0;
}

int bundle_write(const struct bundle *bundle)
{
	_cleanup_(closep) int fd =
		open(bundle->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	_cleanup_(fclosep) FILE *file = NULL;
	struct writer w = {.bundle = bundle, .now = time(NULL)};
	int r;

	if (fd < 0)
		return -errno;
	file = fdopen(fd, "w");
	if (!file)
		return -errno;
	(void)TAKE_FD(fd); /* the stream's now */
	w.file = file;
	r = put_all(&w);
	r = r ?: finish(&w);
	if (r < 0)
		unlink(bundle->path); /* half of it is of no use */
	return r;
}
