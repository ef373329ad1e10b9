// Numbers and times as people read them.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const hour = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 12,345 */
export function count(value) {
  return isNumber(value) ? plain.format(value) : "–";
}
count.isWhole = true; // a chart needs no steps between

/** 0.4, 12, 1,204: of something a second. */
export function rate(value) {
  return isNumber(value) ? (value < 10 ? fine : plain).format(value) : "–";
}

/** 12.4 MiB */
export function bytes(value) {
  if (!isNumber(value)) {
    return "–";
  }
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${(value < 10 && at > 0 ? fine : plain).format(value)} ${units[at]}`;
}

/** 0.8 ms, 12 ms, 1.4 s: a short time, of milliseconds. */
export function latency(ms) {
  if (!isNumber(ms)) {
    return "–";
  }
  return ms >= 1000 ? `${fine.format(ms / 1000)} s` : `${(ms < 10 ? fine : plain).format(ms)} ms`;
}

/** 45 s, 12 min, 3 h 20 min, 4 d 2 h: a long time, of milliseconds. */
export function duration(ms) {
  if (!isNumber(ms)) {
    return "–";
  }
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) {
    return `${s} s`;
  }
  const min = Math.floor(s / 60);
  if (min < 90) {
    return `${min} min`;
  }
  const hours = Math.floor(min / 60);
  return hours < 48 ? `${hours} h ${min % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** 14:03:27, or Nov 26, 14:03:27 when it is another day: of ms since 1970, or of a text like RFC 3339's. */
export function time(value) {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) {
    return "–";
  }
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
}

/** 14:03 */
export function minute(value) {
  return hour.format(new Date(value));
}
