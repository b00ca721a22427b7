// A picture taken with the camera of this device. It goes to the search and nowhere else.

import { open } from "../../lib/dialogs.js";
import { h, icon, put } from "../../lib/dom.js";
import { t } from "../../lib/texts.js";

const QUALITY = 0.92;
// What a browser says, and what somebody reads.
const WHY = new Map([
  ["NotAllowedError", "denied"], ["SecurityError", "denied"], ["NotFoundError", "none"], ["OverconstrainedError", "none"],
  ["NotReadableError", "in_use"], ["AbortError", "in_use"],
]);

/** Opens the camera in a dialog. Resolves to the picture that was taken, a File, or null. */
export async function takePicture() {
  const video = h("video", { id: "camera-view", autoplay: true, playsinline: true, muted: true, "aria-label": t("search.camera.view") });
  video.muted = true;
  const place = h("div", { class: "camera" });
  const controls = h("div", { class: "camera-controls" });
  let stream = null;
  let gone = false;
  const stop = () => stream?.getTracks().forEach((track) => track.stop());

  async function start(wanted) {
    put(controls);
    put(place, h("p", { class: "status loading", role: "status" }, t("search.camera.asking")));
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error(), { name: "insecure" });
      stop();
      const given = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, height: { ideal: 1080 }, ...wanted } });
      if (gone) return given.getTracks().forEach((track) => track.stop());
      stream = given;
      video.srcObject = stream;
      put(place, video);
      await video.play();
      await showControls();
    } catch (error) {
      if (!gone) refuse(error, wanted);
    }
    return undefined;
  }

  async function showControls() {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
    const at = cameras.findIndex((each) => each.deviceId === stream.getVideoTracks()[0].getSettings().deviceId);
    const take = h("button", { id: "camera-take", type: "button", class: "primary", onclick: () => snap() }, icon("camera"), t("search.camera.take"));
    put(controls, take, cameras.length > 1 && h("button", {
      type: "button", onclick: () => start({ deviceId: { exact: cameras[(at + 1) % cameras.length].deviceId } }),
    }, icon("retry"), t("search.camera.switch")));
    take.focus();
  }

  function refuse(error, wanted) {
    const why = error.name === "insecure" ? (isSecureContext ? "none" : "insecure") : (WHY.get(error.name) ?? "in_use");
    put(place, h("div", { class: "empty error", role: "alert", "data-why": why }, icon("camera"),
      h("p", { class: "empty-title" }, t(`search.camera.${why}.title`)), h("p", { class: "muted" }, t(`search.camera.${why}.text`))));
    put(controls, why !== "insecure" && h("button", { type: "button", onclick: () => start(wanted) }, t("frame.try_again")));
  }

  let done = () => {};
  async function snap() {
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    done(new File([blob], t("search.camera.name"), { type: "image/jpeg" }));
  }

  const closed = open({
    title: t("search.camera.title"), wide: true, id: "camera-dialog",
    content: (close) => {
      done = close;
      return h("div", { class: "stack" }, place, h("p", { class: "help" }, t("search.camera.kept")), controls);
    },
    actions: [{ text: t("frame.cancel"), value: null }],
  });
  start({ facingMode: "user" });
  const taken = await closed;
  gone = true;
  stop();
  return taken;
}
