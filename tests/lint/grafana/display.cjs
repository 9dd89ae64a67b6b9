// SPDX-License-Identifier: Apache-2.0
// Puts made-up answers of Prometheus through Grafana's own library of data (npm: @grafana/data), as a panel does before it
// draws: transformations, overrides, mappings, units, names.  Says what a reader would not see as it is meant.
// NODE_PATH says where the library is; grafana.py tells how it gets there.
'use strict';
const fs = require('fs');

globalThis.navigator = { language: 'en', languages: ['en'] };
const data = require('@grafana/data');
const { firstValueFrom } = require('rxjs');

globalThis.window = {}; // only now, or libraries take this for a browser

// A node that is called like a direction, and two values of each other label, so that no two series may be called alike.
const VALUES = { direction: ['ingress', 'egress'], instance: ['egress-1', 'node-2'], cluster: [''],
	reason: ['NETFILTER_DROP', 'NO_SOCKET'] };
const STANDARD = ['unit', 'mappings', 'thresholds', 'color', 'min', 'noValue', 'links'];
const CUSTOM = ['width', 'transform', 'drawStyle', 'lineWidth', 'fillOpacity', 'showPoints', 'spanNulls',
	'lineInterpolation', 'stacking'];
const TRANSFORMERS = ['organizeFields', 'merge', 'orderFields', 'renameFields', 'filterFieldsByName', 'filterFields'];

function property(path, isCustom) {
	return { id: isCustom ? `custom.${path}` : path, path, name: path, isCustom, settings: {},
		process: (value) => value, shouldApply: () => true };
}

const PROPERTIES = [...STANDARD.map((path) => property(path, false)), ...CUSTOM.map((path) => property(path, true))];
const REGISTRY = new data.Registry(() => PROPERTIES);

data.standardFieldConfigEditorRegistry.setInit(() => PROPERTIES.filter((one) => !one.isCustom));
data.standardTransformersRegistry.setInit(() => TRANSFORMERS.map((name) => data.standardTransformers[`${name}Transformer`]).map(
	(one) => ({ id: one.id, name: one.name, transformation: () => Promise.resolve(one) })));

function labelsOf(target) {
	const grouped = (/\bby \(([^)]*)\)/.exec(target.expr) || ['', ''])[1].split(',').map((label) => label.trim());
	const named = [...target.legendFormat.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map((match) => match[1]);
	const made = (/label_join\([^"]*"?.*?, "(\w+)", "", "\w+"\)/.exec(target.expr) || []).slice(1);

	return [...new Set([...grouped, ...named, ...made])].filter(Boolean);
}

/* All combinations of values, as a database would have them. */
function rowsOf(labels) {
	const valuesOf = (label, row) => (label === 'explanation' ? [row.reason] : VALUES[label] || [`${label}-a`, `${label}-b`]);
	const more = (rows, label) => rows.flatMap((row) => valuesOf(label, row).map((value) => ({ ...row, [label]: value })));

	return labels.reduce(more, [{}]);
}

function framesOf(target) {
	const labels = labelsOf(target), rows = rowsOf(labels);

	if (target.format === 'table')
		return [data.toDataFrame({ refId: target.refId, fields: [
			{ name: 'Time', type: 'time', values: rows.map(() => 1e12) },
			...labels.map((label) => ({ name: label, type: 'string', values: rows.map((row) => row[label]) })),
			{ name: 'Value', type: 'number', values: rows.map((row, number) => number) }] })];
	return rows.map((row) => data.toDataFrame({ refId: target.refId, fields: [
		{ name: 'Time', type: 'time', values: [1e12, 1e12 + 15000] },
		{ name: 'Value', type: 'number', labels: row, values: [1, 1], config: {
			displayNameFromDS: target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => row[label] || '') } }] }));
}

async function shown(panel) {
	const frames = await firstValueFrom(data.transformDataFrame(panel.transformations || [], panel.targets.flatMap(framesOf)));

	return data.applyFieldOverrides({ data: frames, fieldConfig: panel.fieldConfig, fieldConfigRegistry: REGISTRY,
		theme: data.createTheme(), replaceVariables: (text) => text, timeZone: 'utc' });
}

function checkTable(panel, frames, say) {
	const wanted = Object.values(panel.transformations.at(-1).options.renameByName);
	const names = frames[0].fields.map((field) => data.getFieldDisplayName(field, frames[0], frames));
	const field = (label) => frames[0].fields[wanted.indexOf(panel.transformations.at(-1).options.renameByName[label])];

	if (names.join() !== wanted.join())
		say(`columns ${names} instead of ${wanted}`);
	if (wanted.includes('Alert') && !field('alertname').config.links?.[0]?.url.endsWith('/docs/runbooks/${__value.raw}.md'))
		say('an alert does not lead to its runbook');
	for (const value of field('explanation')?.values || [])
		if (data.formattedValueToString(field('explanation').display(value)) === value)
			say(`${value} is not explained`);
}

function checkSeries(frames, say) {
	const fields = frames.map((frame) => frame.fields[1]);
	const names = fields.map((field, number) => data.getFieldDisplayName(field, frames[number], frames));
	const below = fields.filter((field) => field.config.custom?.transform === 'negative-Y');

	if (new Set(names).size !== names.length)
		say(`two series have the same name: ${names.sort().slice(0, 4)}`);
	if (below.some((field) => field.labels.direction !== 'egress') ||
	    (below.length && fields.some((field) => field.labels.direction === 'egress' && !below.includes(field))))
		say(`not what leaves is below zero, or not all of it`);
}

function checkStat(panel, frames, say) {
	const { defaults } = panel.fieldConfig;

	for (const [value, { text }] of Object.entries((defaults.mappings[0] || { options: {} }).options))
		if (data.formattedValueToString(frames[0].fields[1].display(Number(value))).trim() !== text)
			say(`${value} is not shown as ${text}`);
}

async function check(name, board) {
	const problems = [];

	for (const panel of board.panels.filter((one) => one.targets)) {
		const say = (text) => problems.push(`${name}: ${panel.title}: ${text}`);
		const frames = await shown(panel), unit = panel.fieldConfig.defaults.unit;
		const known = data.getValueFormats().some((group) => group.submenu.some((one) => one.value === unit));

		if (!known && !unit.startsWith('si:'))
			say(`Grafana knows no unit ${unit}`);
		if (panel.type === 'table')
			checkTable(panel, frames, say);
		else
			checkSeries(frames, say);
		if (panel.type === 'stat')
			checkStat(panel, frames, say);
	}
	return problems;
}

(async () => {
	const checked = process.argv.slice(2).map((name) => check(name, JSON.parse(fs.readFileSync(name))));
	const problems = (await Promise.all(checked)).flat();

	problems.forEach((problem) => console.log(problem));
	process.exit(problems.length ? 1 : 0);
})();
