//! What is said in calls, as the inside of JSON strings: escapes are part of the texts, because upstream's
//! rows carry them and they must survive byte for byte.

use super::dice::Dice;

/// What agents say.
const ASSISTANT: [&str; 20] = [
    "Hello! This is Priya calling from Sunrise Clinics. Am I speaking with the right person, and is this a good time to talk for two minutes?",
    "नमस्ते! मैं आरव बोल रहा हूँ, क्या मैं आपसे आपके हाल के ऑर्डर के बारे में दो मिनट बात कर सकता हूँ?",
    "Thank you. I see an appointment on the 14th at half past ten with Dr. Rao; shall I keep it, move it, or cancel it for you?",
    "जी बिल्कुल, मैं समझ सकता हूँ। आपकी किस्त की आख़िरी तारीख़ पंद्रह है और बकाया राशि चार हज़ार दो सौ रुपये है।",
    "I'm sorry to hear that. I have noted it down, and somebody from the team will call you back before six in the evening.",
    "Sure \\ud83d\\ude42 I will send the link to https:\\/\\/example.com\\/pay\\/9f2c by SMS right away.",
    "Could you please confirm the last four digits of the number that is registered with us?",
    "आपका पता है: \\\"\\u092b\\u094d\\u0932\\u0948\\u091f 12, \\u0917\\u0941\\u0930\\u0941\\u0917\\u094d\\u0930\\u093e\\u092e\\\", क्या यह सही है?",
    "Perfect, so that is two bedrooms, a budget of around eighty-five lakhs, and possession within a year \\u2014 did I get that right?",
    "Great! 🎉 You are all set. You will get a confirmation on WhatsApp in a few minutes.",
    "No problem at all, I can call again tomorrow. Would the morning or the afternoon suit you better?",
    "The plan is \\u20b9499 per month\\/\\u20b94,999 per year, and the first two weeks are free of charge.",
    "Let me check that for you\\u2026 yes, the shipment left our warehouse in Bhiwandi yesterday and should arrive on Thursday.",
    "समझ गया। क्या आप चाहेंगे कि मैं आपको हमारे सलाहकार से अभी जोड़ दूँ, या बाद में फ़ोन करूँ?",
    "I did not quite catch that, the line is a little noisy. Could you say it once more?",
    "Your policy number ends in 7781 and it is due for renewal. Shall I walk you through what has changed this year?",
    "Understood. I have removed this number from our list, and you will not be called again about this.",
    "ठीक है, धन्यवाद! आपका दिन शुभ हो। 🙏",
    "Before we finish: on a scale from one to five, how satisfied are you with the way this was handled?",
    "Thank you for your time, Mr. O'Brien\\u00a0\\u2013 have a wonderful day ahead. Goodbye!",
];

/// What people say.
const USER: [&str; 20] = [
    "Hello? Yes, speaking.",
    "हाँ, बोलिए।",
    "Haan ji, but I am driving right now, can you make it quick?",
    "मुझे पिछले हफ़्ते का बिल अभी तक नहीं मिला है, और ऐप में भी कुछ नहीं दिख रहा।",
    "Yes.",
    "No, that is not correct, I had asked for the fifteenth, not the fourteenth.",
    "Who gave you my number?",
    "क्या आप इसे \\u0939\\u093f\\u0902\\u0926\\u0940 में दोबारा समझा सकते हैं?",
    "Okay, and what does it cost if I take the whole year at once? Somebody told me there was a discount on it.",
    "Hmm.",
    "ठीक है, भेज दीजिए। 👍",
    "I already paid that on Monday, via UPI\\/NetBanking, I can share the screenshot \\ud83d\\udcf1 if you want.",
    "Can I talk to a real person please?",
    "The address is right, but the pin code should be 122018 and not 122001.",
    "नहीं, अभी ज़रूरत नहीं है, बाद में देखेंगे।",
    "It said \\\"transaction failed\\\" twice and then the money was gone from my account anyway.",
    "Tomorrow after four would be fine.",
    "Sorry, what was that?\\tThe line broke.",
    "Four, I would say. It took a bit long, but in the end it worked.",
    "Bye.",
];

/// What a voice mail says.
const VOICE_MAIL: &str =
    "The person you are trying to reach is not available. At the tone, please record your message. \\u266a";

/// What summaries say.
pub(super) const SUMMARIES: [&str; 5] = [
    "The user confirmed the appointment and asked for a reminder by SMS.",
    "उपयोगकर्ता ने बाद में कॉल करने का अनुरोध किया।",
    "The user disputed the amount due, said that it was already paid by UPI, and will share a screenshot.",
    "The user wants to speak to a human; a call back was promised \\u2014 before 6\\u00a0pm.",
    "Interested \\ud83d\\udd25: wants the yearly plan, follow up with the discount\\/offer page.",
];

/// Writes the inside of a transcript of that many turns.
pub(super) fn write_turns(out: &mut String, dice: &mut Dice, turns: u64) {
    out.push_str("assistant: ");
    out.push_str(dice.pick(&ASSISTANT));
    for _ in 0..turns {
        out.push_str("\\nuser: ");
        out.push_str(dice.pick(&USER));
        out.push_str("\\nassistant: ");
        out.push_str(dice.pick(&ASSISTANT));
    }
}

/// Writes the inside of a transcript of a call that a voice mail took.
pub(super) fn write_voice_mail(out: &mut String) {
    out.push_str("assistant: ");
    out.push_str(ASSISTANT[0]);
    out.push_str("\\nuser: ");
    out.push_str(VOICE_MAIL);
}
