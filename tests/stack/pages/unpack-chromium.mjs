// unpack-chromium.mjs DIR: unpacks the Chromium that @sparticuz/chromium carries into DIR, with the libraries and the font that a
// bare machine lacks. It must lie in the folder whose node_modules holds the package.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const dir = resolve(process.argv[2]);
mkdirSync(dir, { recursive: true });
process.env.TMPDIR = dir; // the package unpacks into the system's temporary folder, which all users share
process.env.AWS_EXECUTION_ENV ??= "AWS_Lambda_nodejs22.x"; // only then does it unpack libnss3 and libnspr4
const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();
// The package's own file names folders of another machine, and without a font no text has a height.
writeFileSync(
  join(dir, "fonts", "fonts.conf"),
  `<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "fonts.dtd">\n<fontconfig><dir>${dir}/fonts</dir>` +
    `<cachedir>${dir}/fonts-cache</cachedir></fontconfig>\n`,
);
