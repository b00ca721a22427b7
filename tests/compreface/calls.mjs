// What @exadel/compreface-js-sdk says to a server. Arguments: URL, a file of JSON with the rest.
import assert from "node:assert/strict";
import fs from "node:fs";
import { CompreFace } from "@exadel/compreface-js-sdk";

const [server, file] = process.argv.slice(2);
const { photos, keys, det_prob_threshold: low } = JSON.parse(fs.readFileSync(file));
const url = new URL(server);
const host = `${url.protocol}//${url.hostname}`;
const cf = new CompreFace(host, url.port, {});
const recognition = cf.initFaceRecognitionService(keys.recognition);
const detection = cf.initFaceDetectionService(keys.detection);
const verification = cf.initFaceVerificationService(keys.verification);
// Some of its calls change the address that the object has: one object a call.
const subjects = () => recognition.getSubjects();
const faces = () => recognition.getFaceCollection();
const base64 = (path) => fs.readFileSync(path).toString("base64");
const count = (name) => console.log(name);

async function refused(promise, status, code) {
  const error = await promise.then(() => assert.fail("it was answered"), (error) => error);
  assert.equal(error.response?.status, status, error.message);
  assert.equal(error.response.data.code, code);
}

await subjects().add("Ann");
await refused(subjects().add("ann"), 400, 43);
const first = await faces().add(photos.a1, "Ann", {});
assert.equal(first.subject, "Ann");
// It writes ?subject=Bob?det_prob_threshold=…
const second = await faces().add(base64(photos.b1), "Bob", { det_prob_threshold: low });
assert.equal(second.subject, "Bob");
await refused(faces().add(photos.group, "X", {}), 400, 31);
await refused(faces().add(photos.none, "X", {}), 400, 28);
assert.deepEqual((await subjects().list()).subjects.sort(), ["Ann", "Bob"]);
const listed = await faces().list();
assert.deepEqual(listed.faces.map((each) => each.image_id).sort(), [first.image_id, second.image_id].sort());
count("add");

const options = { det_prob_threshold: low, prediction_count: 2, face_plugins: "landmarks,calculator,age", status: true };
const [face] = (await recognition.recognize(photos.a2, options)).result;
assert.deepEqual(Object.keys(face).sort(), ["box", "embedding", "execution_time", "landmarks", "subjects"]);
assert.equal(face.subjects[0].subject, "Ann");
assert.ok(face.subjects[0].similarity > 0.5 && face.subjects[1].similarity < 0.5, JSON.stringify(face.subjects));
const again = await recognition.recognize(base64(photos.a2), { limit: 1 });
assert.equal(again.result[0].subjects[0].similarity, face.subjects[0].similarity);
await refused(recognition.recognize(photos.none, {}), 400, 28);
count("recognize");

const alike = await faces().verify(photos.a2, first.image_id, { limit: 1 });
assert.equal(alike.result[0].similarity, face.subjects[0].similarity);
// It writes ?det_prob_threshold=…?status=true
const found = await detection.detect(photos.group, { det_prob_threshold: low, status: true });
assert.ok(found.result.length >= 2);
assert.ok(found.plugins_versions.detector);
const pair = await verification.verify(photos.a1, photos.a2, {});
assert.ok(pair.result[0].face_matches[0].similarity > 0.5);
const other = await verification.verify(base64(photos.a1), base64(photos.b1), {});
assert.ok(other.result[0].face_matches[0].similarity < 0.5);
count("verify");

assert.deepEqual(await subjects().rename("Bob", "Carl"), { updated: true });
assert.deepEqual(await faces().delete(first.image_id), { image_id: first.image_id, subject: "Ann" });
const [gone] = await faces().delete_multiple_images([second.image_id]);
assert.deepEqual(gone, { image_id: second.image_id, subject: "Carl" });
assert.deepEqual(await faces().delete_all_subject("Ann"), { deleted: 0 });
await refused(subjects().delete("nobody"), 404, 42);
await subjects().deleteAll();
assert.deepEqual((await subjects().list()).subjects, []);
await refused(cf.initFaceRecognitionService(keys.detection).getSubjects().list(), 404, 10);
count("delete");
