// Reads one JSON array of FHIR resources from standard input; prints, for each, the errors that the validator finds.
const { Fhir } = require("fhir");
const fhir = new Fhir();
const resources = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = resources.map((resource) =>
  fhir.validate(resource, { errorOnUnexpected: true }).messages.map((m) => `${m.severity} ${m.location}: ${m.message}`));
process.stdout.write(JSON.stringify(found));
