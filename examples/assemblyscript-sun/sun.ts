// Says when the sun rises and sets. A command in AssemblyScript: arguments in, lines and an exit code out.
//
//     sun LATITUDE LONGITUDE [YYYY-MM-DD]
//
// In degrees, north and east; today if there is no date. By the sunrise equation, which is right to some two minutes. Exits
// with 2 if it can't read its arguments.

const DAY_MS: f64 = 86400000.0;
/** The day of 1 January 2000, in days since 1970. */
const YEAR_2000: f64 = 10957.0;
/** Where the sun's middle is when its upper edge shows: below the horizon by its radius and by what the air bends. */
const HORIZON: f64 = -0.833;
const TILT: f64 = 23.44;

const sin = (degrees: f64): f64 => Math.sin((degrees * Math.PI) / 180);
const cos = (degrees: f64): f64 => Math.cos((degrees * Math.PI) / 180);

function main(): i32 {
  const args = process.argv;
  const latitude = args.length > 2 ? parseFloat(args[1]) : NaN;
  const longitude = args.length > 2 ? parseFloat(args[2]) : NaN;
  // Comparisons with what is no number are false.
  if (!(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180) || (args.length > 3 && !isDate(args[3]))) {
    console.error("usage: sun LATITUDE LONGITUDE [YYYY-MM-DD]");
    return 2;
  }
  const now: f64 = args.length > 3 ? <f64>Date.fromString(args[3]).getTime() : <f64>Date.now();
  const day = Math.floor(now / DAY_MS);

  const noon = day - YEAR_2000 - longitude / 360;
  const anomaly = 357.5291 + 0.98560028 * noon;
  const center = 1.9148 * sin(anomaly) + 0.02 * sin(2 * anomaly) + 0.0003 * sin(3 * anomaly);
  const ecliptic = anomaly + center + 282.9372;
  // In days since noon of 1 January 2000.
  const transit = noon + 0.0053 * sin(anomaly) - 0.0069 * sin(2 * ecliptic);

  const sinDeclination = sin(ecliptic) * sin(TILT);
  const cosDeclination = Math.sqrt(1 - sinDeclination * sinDeclination);
  const cosHalfDay = (sin(HORIZON) - sin(latitude) * sinDeclination) / (cos(latitude) * cosDeclination);
  if (cosHalfDay < -1) {
    console.log("the sun does not set");
  } else if (cosHalfDay > 1) {
    console.log("the sun does not rise");
  } else {
    const halfDay = Math.acos(cosHalfDay) / (2 * Math.PI);
    console.log("sunrise " + clock(transit - halfDay) + ", sunset " + clock(transit + halfDay) + " UTC");
  }
  return 0;
}

/** The time of day, of days since a noon. */
function clock(days: f64): string {
  const minutes = <i32>Math.floor((days + 0.5 - Math.floor(days + 0.5)) * 1440);
  return two(minutes / 60) + ":" + two(minutes % 60);
}

function two(number: i32): string {
  return number.toString().padStart(2, "0");
}

function isDate(text: string): bool {
  if (text.length != 10) return false;
  for (let at = 0; at < 10; at++) {
    const code = text.charCodeAt(at);
    if (at == 4 || at == 7 ? code != 45 : code < 48 || code > 57) return false;
  }
  return true;
}

const code = main();
if (code != 0) process.exit(code);
