// The operator's pages: a file is read into a text field, and goes nowhere until the form is sent.
(() => {
  'use strict'

  document.querySelectorAll('[data-into]').forEach((group) => {
    const field = document.getElementById(group.dataset.into)
    group.hidden = false
    group.querySelector('input[type=file]').addEventListener('change', async (event) => {
      const [file] = event.target.files
      if (file && file.size <= 65536) field.value = await file.text()
      field.focus()
    })
  })
})()
