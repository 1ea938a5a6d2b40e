// Numbers as text.

/// No line break inside of a number, nor between it and its unit.
export const grouped = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
export const count = (number) => (number < 1e6 ? grouped(number) : number < 1e9 ? `${(number / 1e6).toFixed(1)}\u202fM` : `${(number / 1e9).toFixed(1)}\u202fG`);
export const rate = (number) => (number === 0 ? "0" : number < 10 ? number.toFixed(1) : number < 1e4 ? grouped(number) : number < 1e6 ? `${(number / 1e3).toFixed(1)}\u202fk` : `${(number / 1e6).toFixed(1)}\u202fM`);
export const quantity = (number, units, base) => {
  let unit = 0;
  let rest = number;
  while (rest >= base && unit < units.length - 1) { rest /= base; unit += 1; }
  return [unit === 0 || rest >= 100 ? rest.toFixed(0) : rest >= 10 ? rest.toFixed(1) : rest.toFixed(2), units[unit]];
};
export const sized = (bytes) => quantity(bytes, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
export const size = (bytes) => sized(bytes).join("\u00a0");
export const took = (micros) => {
  if (micros < 1000) return [micros < 10 ? micros.toFixed(1) : micros.toFixed(0), "µs"];
  const [value, unit] = micros < 1e6 ? [micros / 1000, "ms"] : [micros / 1e6, "s"];
  return [value < 10 ? value.toFixed(1) : value.toFixed(0), unit];
};
export const time = (micros) => (micros === null || micros === undefined ? "–" : took(micros).join("\u00a0"));
export const seconds = (value) => (value === null ? "none" : value < 1 ? `${Math.round(value * 1000)}\u00a0ms` : `${value.toFixed(1)}\u00a0s`);
export const lasting = (value) => {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([length]) => value >= length));
  if (value < 1) return "0\u00a0s";
  const [[length, unit], next] = [parts[first], parts[first + 1]];
  const rest = next && Math.floor((value % length) / next[0]);
  return `${Math.floor(value / length)}\u00a0${unit}${rest ? ` ${rest}\u00a0${next[1]}` : ""}`;
};
export const all = (gets) => gets.l1 + gets.l2 + gets.stale + gets.miss;
export const share = (part, whole) => (whole > 0 ? part / whole : 0);
export const hitShare = (gets) => share(gets.l1 + gets.l2 + gets.stale, all(gets));
export const percent = (part) => (part > 0.9995 || part < 0.0005 ? (part * 100).toFixed(0) : (part * 100).toFixed(1));
export const clock = (moment) => moment.toLocaleTimeString([], { hour12: false });
export const hitRate = (gets) => `${percent(hitShare(gets))}\u202f%`;
